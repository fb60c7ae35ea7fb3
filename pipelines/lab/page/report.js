"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const el = (id) => document.getElementById(id);
const NS = "http://www.w3.org/2000/svg";
const outcomeAt = new Map(data.outcomes.map((outcome, index) => [outcome.id, index]));
const armAt = new Map(data.arms.map((arm) => [arm.id, arm]));
const ALL = "all questions";

// --- small builders ---

function svg(name, attributes = {}, ...children) {
  const node = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  for (const child of children) node.append(child);
  return node;
}
function html(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes))
    key.startsWith("on") ? node.addEventListener(key.slice(2), value) : node.setAttribute(key, value);
  for (const child of children) if (child !== null) node.append(child);
  return node;
}
function fill(select, values, chosen) {
  select.replaceChildren(...values.map((value) => html("option", { value }, value)));
  if (values.includes(chosen)) select.value = chosen;
}
const number = (value) => (value === null || value === undefined ? "–" : value.toFixed(Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 3).replace("-", "−"));
const probability = (value) => (value === null ? "–" : value < 0.001 ? "< 0.001" : value.toFixed(3));
function signed(value) {
  const text = Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(3);
  return Number(text) === 0 ? text.replace("-", "") : (value > 0 ? "+" : "") + text.replace("-", "−");
}
function ticks(low, high, count = 6) {
  const raw = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-9; at += step) found.push(Math.abs(at) < step * 1e-9 ? 0 : at);
  return found;
}
const tick = (value) => String(Number(value.toPrecision(4))).replace("-", "−");
function scale(low, high, from, to) {
  const span = high - low || 1;
  return (value) => from + ((value - low) / span) * (to - from);
}
function padded(values, share = 0.08) {
  const low = Math.min(...values), high = Math.max(...values);
  const room = (high - low || Math.abs(high) || 1) * share;
  return [low - room, high + room];
}
const short = (text, length) => (text.length > length ? text.slice(0, length - 1) + "…" : text);

// --- what is chosen ---

const questions = () => (el("question").value === ALL ? data.questions : data.questions.filter((q) => q.name === el("question").value));
const arms = () => [...new Set(questions().flatMap((q) => q.arms))];
function means(outcome) {
  const at = outcomeAt.get(outcome), sums = new Map();
  for (const run of data.runs) {
    const value = run.values[at];
    if (value === null) continue;
    const [sum, count] = sums.get(run.arm) ?? [0, 0];
    sums.set(run.arm, [sum + value, count + 1]);
  }
  return new Map([...sums].map(([arm, [sum, count]]) => [arm, sum / count]));
}
const better = (outcome) => data.outcomes[outcomeAt.get(outcome)].better;
function word(arm, outcome) {
  for (const question of data.questions)
    for (const [name, of, , , , , , , , said] of question.findings) if (name === arm && of === outcome) return said;
  return "null";
}

// --- forest plot ---

function forest() {
  const outcome = el("outcome").value, rows = [];
  for (const question of questions()) {
    const found = question.findings.filter((one) => one[1] === outcome);
    if (found.length) rows.push({ heading: question.name, question }, ...found.map((one) => ({ one, question })));
  }
  const place = el("forest-plot");
  if (!rows.length) return place.replaceChildren(html("p", { class: "soft" }, `${outcome} was not measured in these arms.`));
  const values = [0], bounds = new Set();
  for (const { one, question } of rows) {
    if (one) values.push(...one.slice(2, 5).filter((value) => value !== null));
    if (question.guards[outcome] !== undefined) bounds.add(question.guards[outcome]);
  }
  values.push(...bounds);
  const width = 1080, left = 300, right = 250, line = 25, top = 14, height = top + rows.length * line + 34;
  const [low, high] = padded(values), x = scale(low, high, left, width - right);
  const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "list", "aria-label": `Differences of ${outcome} to the base` });
  for (const at of ticks(low, high)) {
    chart.append(svg("line", { class: "rule", x1: x(at), x2: x(at), y1: top, y2: height - 30 }));
    chart.append(svg("text", { class: "axis", x: x(at), y: height - 14, "text-anchor": "middle" }, tick(at)));
  }
  chart.append(svg("line", { class: "zero", x1: x(0), x2: x(0), y1: top, y2: height - 30 }));
  for (const at of bounds) chart.append(svg("line", { class: "zero", "stroke-dasharray": "2 4", x1: x(at), x2: x(at), y1: top, y2: height - 30 }));
  rows.forEach(({ heading, one, question }, index) => {
    const y = top + index * line + line / 2;
    if (heading !== undefined) {
      chart.append(svg("text", { x: 0, y: y + 5, "font-weight": 600 }, short(question.base === "base" ? heading : `${heading} (base: ${question.base})`, 60)));
      return;
    }
    const [arm, , mean, from, to, , , improved, pairs, said] = one;
    const interval = from === null ? "no interval" : `[${signed(from)}, ${signed(to)}]`;
    const label = `${arm}: ${outcome} ${signed(mean)} ${interval}, ${Math.round(improved * 100)} % of ${pairs} pairs better, ${said}`;
    const group = svg("g", { class: said, tabindex: 0, role: "listitem", "aria-label": label }, svg("title", {}, label));
    group.append(svg("text", { x: left - 14, y: y + 4, "text-anchor": "end" }, short(arm, 44)));
    if (from !== null) group.append(svg("line", { class: "whisker", x1: x(from), x2: x(to), y1: y, y2: y }));
    group.append(svg("rect", { class: "mark", x: x(mean) - 4.5, y: y - 4.5, width: 9, height: 9, rx: 1.5 }));
    group.append(svg("text", { x: width - right + 14, y: y + 4 }, `${signed(mean)} ${interval}`));
    group.append(svg("text", { class: "mark", style: "stroke:none", x: width, y: y + 4, "text-anchor": "end" }, said));
    chart.append(group);
  });
  place.replaceChildren(chart);
}

// --- Pareto scatter ---

function dominated(points, across, up) {
  const signs = [across, up].map((outcome) => (better(outcome) === "higher" ? 1 : -1));
  const above = (one, other) => one.x * signs[0] >= other.x * signs[0] && one.y * signs[1] >= other.y * signs[1] && (one.x !== other.x || one.y !== other.y);
  return new Map(points.map((point) => [point.arm, points.filter((rival) => above(rival, point)).map((rival) => rival.arm)]));
}
function scatter() {
  const across = el("across").value, up = el("up").value, xs = means(across), ys = means(up);
  const points = arms().filter((arm) => xs.has(arm) && ys.has(arm)).map((arm) => ({ arm, x: xs.get(arm), y: ys.get(arm) }));
  const place = el("pareto-plot");
  if (!points.length) return place.replaceChildren(html("p", { class: "soft" }, "No arm has both outcomes."));
  const behind = dominated(points, across, up), bases = new Set(questions().map((q) => q.base));
  const width = 1080, height = 460, left = 76, bottom = 52, top = 16, right = 170;
  const [xl, xh] = padded(points.map((p) => p.x)), [yl, yh] = padded(points.map((p) => p.y));
  const x = scale(xl, xh, left, width - right), y = scale(yl, yh, height - bottom, top);
  const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "list", "aria-label": `Arms by ${across} and ${up}` });
  for (const at of ticks(xl, xh, 8)) chart.append(svg("line", { class: "rule", x1: x(at), x2: x(at), y1: top, y2: height - bottom }), svg("text", { class: "axis", x: x(at), y: height - bottom + 18, "text-anchor": "middle" }, tick(at)));
  for (const at of ticks(yl, yh, 6)) chart.append(svg("line", { class: "rule", x1: left, x2: width - right, y1: y(at), y2: y(at) }), svg("text", { class: "axis", x: left - 8, y: y(at) + 4, "text-anchor": "end" }, tick(at)));
  const way = (outcome) => `${outcome} (${better(outcome)} is better)`;
  chart.append(svg("text", { class: "axis", x: (left + width - right) / 2, y: height - 10, "text-anchor": "middle" }, way(across)));
  chart.append(svg("text", { class: "axis", transform: `translate(16 ${height / 2}) rotate(-90)`, "text-anchor": "middle" }, way(up)));
  const front = points.filter((p) => !behind.get(p.arm).length).sort((a, b) => a.x - b.x);
  chart.append(svg("path", { class: "front", d: front.map((p, i) => `${i ? "L" : "M"}${x(p.x)} ${y(p.y)}`).join("") }));
  const taken = [];
  for (const point of [...points].sort((a, b) => behind.get(a.arm).length - behind.get(b.arm).length)) {
    const over = behind.get(point.arm), isBase = bases.has(point.arm), said = isBase ? "" : word(point.arm, data.questions[0].primary);
    const label = `${point.arm}: ${across} ${number(point.x)}, ${up} ${number(point.y)}${over.length ? `; dominated by ${over.slice(0, 3).join(", ")}${over.length > 3 ? ` and ${over.length - 3} more` : ""}` : "; on the front"}`;
    const group = svg("g", { class: `${said} ${over.length ? "faded" : ""}`, tabindex: 0, role: "listitem", "aria-label": label }, svg("title", {}, label));
    const [px, py] = [x(point.x), y(point.y)];
    group.append(isBase ? svg("path", { class: "mark", d: `M${px} ${py - 8}l8 8l-8 8l-8-8z` }) : svg("circle", { class: "mark", cx: px, cy: py, r: 5.5 }));
    const long = short(point.arm, 26), box = [px + 10, py - 7, px + 10 + long.length * 6.4, py + 7];
    if (!taken.some((b) => b[0] < box[2] && box[0] < b[2] && b[1] < box[3] && box[1] < b[3])) {
      taken.push(box);
      group.append(svg("text", { x: box[0], y: py + 4 }, long));
    }
    chart.append(group);
  }
  place.replaceChildren(chart);
}

// --- marginals ---

function marginalPlots() {
  const outcome = el("outcome").value, made = [];
  for (const question of questions()) {
    for (const [path, effects] of Object.entries(question.marginals[outcome] ?? {})) {
      if (!effects.length) continue;
      const start = armAt.get(question.base).settings[path] ?? null;
      const levels = [{ level: start, mean: 0, low: 0, high: 0, base: true }, ...effects.map(([level, mean, low, high]) => ({ level, mean, low: low ?? mean, high: high ?? mean }))];
      made.push(marginal(question, path, outcome, levels));
    }
  }
  el("marginal-plots").replaceChildren(...(made.length ? made : [html("p", { class: "soft" }, `No setting changes ${outcome} here.`)]));
}
function marginal(question, path, outcome, levels) {
  const width = 360, height = 220, left = 52, bottom = 34, top = 10, right = 14;
  const numeric = levels.every((one) => typeof one.level === "number");
  if (numeric) levels.sort((a, b) => a.level - b.level);
  const [yl, yh] = padded(levels.flatMap((one) => [one.low, one.high]), 0.12), y = scale(yl, yh, height - bottom, top);
  const [xl, xh] = numeric ? padded(levels.map((one) => one.level), 0.05) : [-0.5, levels.length - 0.5];
  const x = scale(xl, xh, left, width - right), at = (one, index) => x(numeric ? one.level : index);
  const label = `${path}: ${levels.map((one) => `${one.level} ${one.base ? "is the base" : `${signed(one.mean)} [${signed(one.low)}, ${signed(one.high)}]`}`).join("; ")}`;
  const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label }, svg("title", {}, label));
  for (const value of ticks(yl, yh, 4)) chart.append(svg("line", { class: "rule", x1: left, x2: width - right, y1: y(value), y2: y(value) }), svg("text", { class: "axis", x: left - 6, y: y(value) + 4, "text-anchor": "end" }, tick(value)));
  chart.append(svg("line", { class: "zero", x1: left, x2: width - right, y1: y(0), y2: y(0) }));
  const group = svg("g", { style: "color:var(--accent)" });
  if (numeric) {
    const low = levels.map((one, i) => `${at(one, i)} ${y(one.low)}`), high = levels.map((one, i) => `${at(one, i)} ${y(one.high)}`);
    group.append(svg("path", { class: "band", d: `M${high.join("L")}L${low.reverse().join("L")}Z` }));
    group.append(svg("path", { class: "mean", d: `M${levels.map((one, i) => `${at(one, i)} ${y(one.mean)}`).join("L")}` }));
  }
  levels.forEach((one, index) => {
    const px = at(one, index);
    if (!numeric) group.append(svg("line", { class: "whisker", x1: px, x2: px, y1: y(one.low), y2: y(one.high) }));
    group.append(one.base ? svg("path", { class: "mark", d: `M${px} ${y(one.mean) - 6}l6 6l-6 6l-6-6z` }) : svg("circle", { class: "mark", cx: px, cy: y(one.mean), r: 4 }));
    chart.append(svg("text", { class: "axis", x: px, y: height - bottom + 18, "text-anchor": "middle" }, one.level === null ? "none" : short(String(one.level), 12)));
  });
  chart.append(group);
  const title = question.name === path ? path : `${question.name}: ${path}`;
  return html("figure", {}, html("figcaption", {}, title), html("div", { class: "plot" }, chart));
}

// --- pictures ---

const DIMENSIONS = ["arm", "story", "seed"];
const varying = () => {
  const chosen = arms().map((arm) => armAt.get(arm)).filter(Boolean);
  const paths = [...new Set(chosen.flatMap((arm) => Object.keys(arm.settings)))];
  return paths.filter((path) => new Set(chosen.map((arm) => JSON.stringify(arm.settings[path] ?? null))).size > 1);
};
const told = (value) => (value === null || value === undefined ? "none" : String(value));
const valueOf = (run, dimension) => told(DIMENSIONS.includes(dimension) ? run[dimension] : armAt.get(run.arm).settings[dimension]);
function levels(dimension) {
  if (dimension === "arm") return arms();
  const chosen = new Set(arms()), found = [...new Set(data.runs.filter((run) => chosen.has(run.arm)).map((run) => valueOf(run, dimension)))];
  return found.every((value) => !Number.isNaN(Number(value))) ? found.sort((a, b) => a - b) : found;
}
function gridChoices() {
  const all = [...DIMENSIONS, ...varying()];
  fill(el("columns"), all, el("columns").value || "arm");
  fill(el("rows"), all.filter((one) => one !== el("columns").value), el("rows").value || "story");
  const fixed = ["story", "seed"].filter((one) => one !== el("columns").value && one !== el("rows").value && levels(one).length > 1);
  el("fixed").replaceChildren(...fixed.map((one) => {
    const select = html("select", { "data-dimension": one, onchange: grid });
    fill(select, levels(one));
    return html("label", {}, one, select);
  }));
}
function runAt(column, row) {
  const [cd, rd] = [el("columns").value, el("rows").value];
  const wanted = new Map([[cd, column], [rd, row]]);
  for (const select of el("fixed").querySelectorAll("select")) wanted.set(select.dataset.dimension, select.value);
  const base = armAt.get(questions()[0]?.base ?? data.arms[0].id);
  if (!wanted.has("arm")) for (const path of varying()) if (!wanted.has(path)) wanted.set(path, told(base.settings[path]));
  const chosen = new Set(arms());
  return data.runs.find((run) => chosen.has(run.arm) && [...wanted].every(([dimension, value]) => valueOf(run, dimension) === value));
}
const inView = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) {
    entry.target.src = entry.target.dataset.source;
    inView.unobserve(entry.target);
  }
}, { rootMargin: "400px" });
function picture(run) {
  if (!run) return html("span", { class: "none" }, "not run");
  if (run.failed) return html("span", { class: "none" }, `failed: ${short(run.failed, 90)}`);
  const told = `${run.arm}, ${run.story}, seed ${run.seed}`;
  let shown;
  if (run.clips.length) {
    shown = html("span", { class: "clips" }, ...run.clips.map((source) => {
      const video = html("video", { muted: "", loop: "", playsinline: "", preload: "metadata", "data-source": source });
      video.muted = true;
      inView.observe(video);
      return video;
    }));
  } else if (run.strip) {
    shown = html("img", { alt: `Stills of ${told}`, "data-source": `data:image/webp;base64,${run.strip}` });
    inView.observe(shown);
  } else return html("span", { class: "none" }, "no picture");
  return html("button", { type: "button", "aria-label": `Open ${told}`, onclick: () => open(run) }, shown);
}
function grid() {
  const columns = levels(el("columns").value), rows = levels(el("rows").value);
  const head = html("tr", {}, html("th", { scope: "col" }, el("rows").value), ...columns.map((column) => html("th", { scope: "col" }, column)));
  const body = rows.map((row) => html("tr", {}, html("th", { scope: "row" }, row), ...columns.map((column) => html("td", {}, picture(runAt(column, row))))));
  el("picture-grid").replaceChildren(html("table", {}, html("thead", {}, head), html("tbody", {}, ...body)));
  for (const one of document.querySelectorAll(".clip-only")) one.hidden = !data.runs.some((run) => run.clips.length);
}
const clips = () => [...el("picture-grid").querySelectorAll("video")].filter((video) => video.src);
function play() {
  const on = el("play").getAttribute("aria-pressed") !== "true";
  el("play").setAttribute("aria-pressed", on);
  el("play").textContent = on ? "stop" : "play all in step";
  for (const video of clips()) {
    if (on) { video.currentTime = 0; video.play().catch(() => {}); } else video.pause();
  }
}
function seek() {
  for (const video of clips()) { video.pause(); if (video.duration) video.currentTime = (video.duration * el("moment").value) / 1000; }
  el("play").setAttribute("aria-pressed", false);
  el("play").textContent = "play all in step";
}
function open(run) {
  const rows = data.outcomes.map((outcome, index) => html("tr", {}, html("th", { scope: "row" }, outcome.id), html("td", { class: "number" }, number(run.values[index])), html("td", {}, run.reasons[outcome.id] ?? "")));
  el("one").replaceChildren(
    html("h3", { id: "one-title" }, `${run.arm} · ${run.story} · seed ${run.seed}`),
    run.strip ? html("img", { alt: "Its stills", src: `data:image/webp;base64,${run.strip}` }) : null,
    run.clips.length ? html("div", { class: "clips" }, ...run.clips.map((src) => html("video", { src, controls: "", loop: "", muted: "" }))) : null,
    run.command ? html("p", {}, html("code", {}, run.command)) : null,
    ...run.warnings.map((text) => html("p", { class: "soft small" }, text)),
    html("table", { class: "data" }, ...rows),
    html("p", {}, html("button", { type: "button", onclick: () => el("one").close() }, "close")),
  );
  el("one").showModal();
}

// --- parallel coordinates ---

function parallel() {
  const chosen = arms(), first = questions()[0];
  const wanted = [...new Set([first?.primary, ...Object.keys(first?.guards ?? {}), ...data.outcomes.map((outcome) => outcome.id), data.seconds])];
  const axes = wanted.filter((name) => outcomeAt.has(name) && data.runs.some((run) => run.values[outcomeAt.get(name)] !== null)).slice(0, 9);
  if (axes.length < 2) return el("parallel-plot").replaceChildren(html("p", { class: "soft" }, "Needs two outcomes."));
  const width = 1080, height = 400, left = 70, right = 200, top = 92, bottom = 24;
  const x = scale(0, axes.length - 1, left, width - right);
  const scales = axes.map((name) => {
    const values = data.runs.map((run) => run.values[outcomeAt.get(name)]).filter((value) => value !== null);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    return better(name) === "higher" ? scale(low, high, height - bottom, top) : scale(low, high, top, height - bottom);
  });
  const path = (values) => {
    let d = "", pen = "M";
    values.forEach((value, i) => { if (value === null || value === undefined) pen = "M"; else { d += `${pen}${x(i).toFixed(1)} ${scales[i](value).toFixed(1)}`; pen = "L"; } });
    return d;
  };
  const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "list", "aria-label": "Arms over all outcomes" });
  const all = axes.map((name) => means(name)), groups = [], runs = new Map();
  for (const run of data.runs) runs.set(run.arm, (runs.get(run.arm) ?? "") + path(axes.map((name) => run.values[outcomeAt.get(name)])));
  chosen.forEach((arm, index) => {
    const own = all.map((one) => one.get(arm) ?? null), hue = Math.round((index * 137.5) % 360);
    const label = `${arm}: ${axes.map((name, i) => `${name} ${number(own[i])}`).join(", ")}`;
    const group = svg("g", { style: `color:hsl(${hue} 55% 48%)`, tabindex: 0, role: "listitem", "aria-label": label }, svg("title", {}, label));
    group.append(svg("path", { class: "run", d: runs.get(arm) ?? "" }), svg("path", { class: "mean", d: path(own) }));
    if (chosen.length <= 16) {
      const y = top + 4 + index * ((height - top - bottom) / Math.max(chosen.length - 1, 1));
      group.append(svg("text", { x: width - right + 24, y: y + 4, style: "fill:currentColor" }, short(arm, 26)));
    }
    const only = (on) => { for (const other of groups) other.classList.toggle("quiet", on && other !== group); };
    for (const [event, on] of [["pointerenter", true], ["focus", true], ["pointerleave", false], ["blur", false]]) group.addEventListener(event, () => only(on));
    groups.push(group);
    chart.append(group);
  });
  axes.forEach((name, i) => {
    chart.append(svg("line", { class: "zero", x1: x(i), x2: x(i), y1: top, y2: height - bottom }));
    const words = svg("text", { class: "axis", transform: `translate(${x(i)} ${top - 10}) rotate(-22)` }, short(name, 28));
    chart.append(words);
  });
  el("parallel-plot").replaceChildren(chart);
}

// --- tables ---

function armTable() {
  const outcome = el("outcome").value, rows = [];
  for (const question of questions()) {
    const all = means(outcome);
    rows.push(html("tr", {}, html("th", { scope: "row" }, `${question.name}: base`), html("td", { class: "number" }, number(all.get(question.base))), ...Array.from({ length: 6 }, () => html("td", { class: "number" }, ""))));
    for (const [arm, of, mean, low, high, holm, dz, improved, pairs, said] of question.findings) {
      if (of !== outcome) continue;
      const cells = [number(all.get(arm)), signed(mean), low === null ? "–" : `${signed(low)} to ${signed(high)}`, probability(holm), number(dz), `${Math.round(improved * 100)} % of ${pairs}`];
      rows.push(html("tr", {}, html("th", { scope: "row" }, arm), ...cells.map((cell) => html("td", { class: "number" }, cell)), html("td", { class: said }, said)));
    }
  }
  const heads = ["arm", outcome, "difference", "95 % interval", "p (Holm)", "d_z", "pairs better", ""];
  el("arm-table").replaceChildren(html("thead", {}, html("tr", {}, ...heads.map((name, i) => html("th", { scope: "col", class: i && i < 7 ? "number" : "" }, name)))), html("tbody", {}, ...rows));
}
const table = { sort: null, down: false, all: false };
function runTable() {
  const wanted = el("filter").value.trim().toLowerCase();
  let rows = data.runs.filter((run) => !wanted || `${run.arm} ${run.story} ${run.id}`.toLowerCase().includes(wanted));
  if (table.sort !== null) {
    const key = (run) => (typeof table.sort === "number" ? run.values[table.sort] : run[table.sort]);
    const order = (a, b) => (a === b ? 0 : a === null ? 1 : b === null ? -1 : a < b ? -1 : 1);
    rows = [...rows].sort((a, b) => (table.down ? -1 : 1) * order(key(a), key(b)));
  }
  const shown = table.all ? rows : rows.slice(0, 25);
  const keys = ["arm", "story", "seed", ...data.outcomes.map((_, index) => index)];
  const head = keys.map((key) => {
    const sorted = table.sort === key ? (table.down ? "descending" : "ascending") : "none";
    const sort = () => { table.down = table.sort === key && !table.down; table.sort = key; runTable(); };
    return html("th", { scope: "col", "aria-sort": sorted, class: typeof key === "number" ? "number" : "" }, html("button", { type: "button", onclick: sort }, typeof key === "number" ? data.outcomes[key].id : key));
  });
  const body = shown.map((run) => html("tr", {}, html("td", {}, run.arm), html("td", {}, run.story), html("td", { class: "number" }, String(run.seed)), ...run.values.map((value) => html("td", { class: "number" }, number(value))), html("td", { class: "again" }, html("code", {}, run.failed ? `failed: ${run.failed}` : run.command))));
  el("run-table").replaceChildren(html("thead", {}, html("tr", {}, ...head, html("th", { scope: "col" }, "again"))), html("tbody", {}, ...body));
  el("more").hidden = table.all || shown.length === rows.length;
  el("counted").textContent = `${shown.length} of ${rows.length} runs`;
}

// --- start ---

function about() {
  const outcome = data.outcomes[outcomeAt.get(el("outcome").value)];
  const by = [outcome.by, ...outcome.labels].filter(Boolean).join(", ");
  el("about").textContent = [outcome.means, `${outcome.better} is better`, by].filter(Boolean).join(" · ");
}
function drawOutcome() { about(); forest(); marginalPlots(); armTable(); }
function drawQuestion() {
  const first = questions()[0];
  if (first && el("question").value !== ALL) el("outcome").value = first.primary;
  drawOutcome(); scatter(); gridChoices(); grid(); parallel();
}
const names = data.outcomes.map((outcome) => outcome.id), primary = data.questions[0]?.primary ?? names[0];
fill(el("question"), [ALL, ...data.questions.map((question) => question.name)], data.questions.length === 1 ? data.questions[0].name : ALL);
fill(el("outcome"), names, primary);
fill(el("up"), names, primary);
fill(el("across"), names, Object.keys(data.questions[0]?.guards ?? {})[0] ?? (names.includes(data.seconds) ? data.seconds : names[0]));
el("question").addEventListener("change", drawQuestion);
el("outcome").addEventListener("change", drawOutcome);
for (const id of ["across", "up"]) el(id).addEventListener("change", scatter);
el("columns").addEventListener("change", () => { gridChoices(); grid(); });
el("rows").addEventListener("change", () => { gridChoices(); grid(); });
el("size").addEventListener("input", () => el("picture-grid").style.setProperty("--cell", `${el("size").value}px`));
el("play").addEventListener("click", play);
el("moment").addEventListener("input", seek);
el("filter").addEventListener("input", runTable);
el("more").addEventListener("click", () => { table.all = true; runTable(); });
drawQuestion();
runTable();
document.documentElement.dataset.ready = "true";
