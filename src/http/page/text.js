// Elements, times, what is said, and the clipboard.

/** An element with properties, and what is in it. */
export function make(name, properties, ...content) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...content);
  return made;
}

/** `1:02:03` of seconds. */
export function duration(seconds) {
  const whole = Math.floor(seconds);
  const two = (number) => String(number).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

let silent;
/** Says something at the page's foot for a while. */
export function say(text) {
  const said = document.getElementById("said");
  said.textContent = text;
  clearTimeout(silent);
  silent = setTimeout(() => { said.textContent = ""; }, 8000);
}

/** To the clipboard. Browsers have `navigator.clipboard` where nobody can read along only. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    say("Copied.");
  } catch {
    const field = make("textarea", { value: text, readOnly: true });
    (document.querySelector("dialog[open]") ?? document.body).append(field);
    field.select();
    say(document.execCommand("copy") ? "Copied." : text);
    field.remove();
  }
}
