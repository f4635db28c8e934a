// Asks the server, and hears its events. A refusal for want of a right (401) is met in one place, `unauthorised`; a token is kept in
// this module's memory and nowhere else.

let token = null;
let unauthorised = () => {};

export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `the server answers ${status}`);
    this.status = status;
    this.kind = (problem.type || "").replace("urn:flowsteer:problem:", "");
  }
}

export function whenUnauthorised(call) { unauthorised = call; }
export function useToken(text) { token = text; }

async function send(path, options = {}) {
  const headers = { ...options.headers };
  if (token) headers.Authorization = `Bearer ${token}`;
  const answer = await fetch(path, { ...options, headers, credentials: "same-origin", cache: "no-store" });
  if (answer.ok) return answer;
  const refused = new Refused(answer.status, await answer.json().catch(() => ({})));
  if (answer.status === 401) unauthorised(refused);
  throw refused;
}

/** JSON in, JSON out; null where there is nothing to say. */
export async function ask(method, path, body) {
  const options = { method };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers = { "Content-Type": "application/json" };
  }
  const answer = await send(path, options);
  if (answer.status === 204) return null;
  return (answer.headers.get("content-type") || "").startsWith("application/json") ? answer.json() : answer.text();
}

/**
 * Hears server-sent events (WHATWG HTML section 9.2) until the page goes, and comes back behind the last one. Not by EventSource: that
 * shows no token.
 */
export async function listen(heard, connected) {
  let last = null;
  for (let wait = 500; ; wait = Math.min(wait * 2, 10000)) {
    try {
      const answer = await send("api/v1/events", last === null ? {} : { headers: { "Last-Event-ID": last } });
      connected(true);
      wait = 500;
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        const blocks = (text + part.value).split("\n\n");
        text = blocks.pop();
        for (const block of blocks) {
          const fields = {};
          for (const line of block.split("\n")) {
            const colon = line.indexOf(":");
            if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 1).trimStart();
          }
          if (fields.id !== undefined) last = fields.id;
          if (fields.event) heard(fields.event, JSON.parse(fields.data));
        }
      }
    } catch (error) {
      connected(false, error);
      // Whoever has no right waits for one.
      if (error instanceof Refused && error.status === 401) return;
    }
    connected(false);
    await new Promise((go) => setTimeout(go, wait));
  }
}
