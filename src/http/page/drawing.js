// Draws a flow: from its home address through the filter to each care-of.

const SVG = "http://www.w3.org/2000/svg";
const ROW = 54;

function element(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

const share = (fraction) => `${(fraction * 100).toFixed(fraction > 0 && fraction < 0.1 ? 1 : 0)} %`;

function figures(branch) {
  const told = [];
  if (branch.lossFraction !== undefined) told.push(`loss ${share(branch.lossFraction)}`);
  if (branch.jitterMs !== undefined) told.push(`jitter ${branch.jitterMs.toFixed(1)} ms`);
  if (branch.lagMs > 0) told.push(`${(branch.lagMs / 1000).toFixed(1)} s behind`);
  told.push(branch.lifetimeSeconds === null ? "as long as its session" : `lifetime ${branch.lifetimeSeconds} s`);
  return told.join(", ");
}

function verdicts(flow) {
  const dropped = Object.entries(flow.filter.dropped).filter(([, count]) => count > 0);
  return dropped.length === 0 ? "nothing dropped" : `dropped: ${dropped.map(([reason, count]) => `${count} ${reason}`).join(", ")}`;
}

/** What a screen is told, and where all stands on it: side by side, or on a narrow one below each other. */
function places(branches, narrow) {
  const count = Math.max(branches, 1);
  if (narrow) {
    const home = { x: 1, y: 5, width: 338 };
    return { width: 340, height: 60 + count * ROW, home, from: [8, 55], to: (index) => ({ x: 24, y: 66 + index * ROW, width: 315 }) };
  }
  const height = count * ROW + 10;
  const home = { x: 1, y: height / 2 - 25, width: 252 };
  return { width: 640, height, home, from: [253, height / 2], to: (index) => ({ x: 318, y: index * ROW + 10, width: 320 }) };
}

/** `left` is what of the transition window is still to come, 0 to 1, or null where there is none. */
export function draw(flow, left, narrow) {
  const { width, height, home, from, to } = places(flow.branches.length, narrow);
  const spoken = flow.branches.map((branch) => `${branch.careOf}, ${branch.state}, ${figures(branch)}`).join("; ") || "nobody";
  const label = `${flow.track.kind}, flow label ${flow.flowLabel}, home address ${flow.homeAddress}, ${verdicts(flow)}, goes to ${spoken}`;
  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  svg.append(
    element("rect", { ...home, height: 50, rx: 6 }),
    element("text", { x: home.x + 9, y: home.y + 17 }, `${flow.track.kind} ${flow.track.codec}, ${flow.flowLabel}`),
    element("text", { x: home.x + 9, y: home.y + 31, class: "small" }, flow.homeAddress),
    element("text", { x: home.x + 9, y: home.y + 44, class: "small" }, verdicts(flow)),
  );
  flow.branches.forEach((branch, index) => {
    const place = to(index);
    const [x, y] = [place.x, place.y + 22];
    const way = narrow ? `M${from[0]} ${from[1]}V${y}H${x}` : `M${from[0]} ${from[1]}C${x - 20} ${from[1]} ${from[0] + 20} ${y} ${x} ${y}`;
    svg.append(
      element("path", { d: way, class: branch.state }),
      element("rect", { ...place, height: 44, rx: 6, class: branch.state }),
      element("text", { x: x + 9, y: y - 5 }, branch.careOf),
      element("text", { x: x + 9, y: y + 11, class: "small" }, `${branch.state}, ${figures(branch)}`),
    );
    if (branch.state === "leaving" && left !== null) {
      svg.append(element("rect", { x: x + 4, y: y + 16, width: Math.round((place.width - 8) * left), height: 4, class: "window" }));
    }
  });
  return svg;
}
