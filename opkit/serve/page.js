"use strict";
// Sliders ask for a prediction; the button asks the solver. Text is set as text, never as markup.

const VIRIDIS = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"];
const BALANCE = ["#2166ac", "#4393c3", "#92c5de", "#d1e5f0", "#f7f7f7", "#fddbc7", "#f4a582", "#d6604d", "#b2182b"];
const at = (id) => document.getElementById(id);
let setup, inputs, where, latest = 0;

const rgb = (stops) => {
  const parts = stops.map((s) => [1, 3, 5].map((k) => parseInt(s.slice(k, k + 2), 16)));
  return Array.from({ length: 256 }, (_, i) => {
    const x = (i / 255) * (parts.length - 1), k = Math.min(Math.floor(x), parts.length - 2);
    return parts[k].map((c, j) => Math.round(c + (x - k) * (parts[k + 1][j] - c)));
  });
};
const COLOURS = { plain: rgb(VIRIDIS), signed: rgb(BALANCE) };

async function ask(path, message) {
  const reply = await fetch(path, message === undefined ? {} : { method: "POST", body: JSON.stringify(message), headers: { "Content-Type": "application/json" } });
  const data = await reply.json();
  if (data.error) throw new Error(data.error.message);
  return data;
}

function fault(error) {
  at("fault").hidden = !error;
  at("fault").textContent = error ? error.message : "";
}

const number = (x) => (x === null || x === undefined ? "∞" : Number(x) === 0 ? "0" : Math.abs(x) >= 1e5 || Math.abs(x) < 1e-3 ? Number(x).toExponential(2) : String(Number(Number(x).toPrecision(4))));
const percent = (x) => (x === null || x === undefined ? "unknown" : `${Number((100 * x).toPrecision(3))} %`);
const time = (s) => (s < 1 ? `${Number((1000 * s).toPrecision(2))} ms` : `${Number(s.toPrecision(3))} s`);

function facts(list, rows) {
  list.replaceChildren(...rows.map(([name, value]) => {
    const div = document.createElement("div");
    for (const [tag, text] of [["dt", name], ["dd", value]]) {
      div.append(Object.assign(document.createElement(tag), { textContent: text }));
    }
    return div;
  }));
}

function span(values) {
  let low = Infinity, high = -Infinity;
  for (const v of values) { if (v < low) low = v; if (v > high) high = v; }
  return [low, high];
}

function draw(canvas, picture, low, high, colours) {
  const shade = (v) => colours[Math.max(0, Math.min(255, Math.round((255 * (v - low)) / (high - low || 1))))];
  const pen = canvas.getContext("2d");
  if (picture.kind === "line") {
    canvas.width = 720; canvas.height = 360;
    pen.strokeStyle = getComputedStyle(document.body).getPropertyValue("--accent"); pen.lineWidth = 3;
    pen.beginPath();
    picture.values.forEach((v, i) => pen.lineTo(8 + (704 * i) / Math.max(1, picture.values.length - 1), 352 - (344 * (v - low)) / (high - low || 1)));
    pen.stroke();
  } else if (picture.kind === "image" && where.kind !== "moved") {
    const { rows, columns } = picture;
    canvas.width = columns; canvas.height = rows;
    const data = pen.createImageData(columns, rows);
    picture.values.forEach((v, i) => {
      const at = 4 * ((rows - 1 - Math.floor(i / columns)) * columns + (i % columns));
      data.data.set(shade(v), at); data.data[at + 3] = 255;
    });
    pen.putImageData(data, 0, 0);
    const [y, x] = where.extent && where.extent.length === 2 ? where.extent : [rows, columns];
    canvas.style.aspectRatio = `${Math.min(4, Math.max(0.5, x / y))}`;
  } else {
    triangles(canvas, pen, picture, shade);
  }
}

function triangles(canvas, pen, picture, shade) {
  const [left, right] = span(where.points.map((p) => p[0])), [bottom, top] = span(where.points.map((p) => p[1]));
  const width = 900, scale = width / (right - left), height = Math.max(40, Math.round(scale * (top - bottom)));
  canvas.width = width; canvas.height = height;
  const xy = where.points.map(([x, y]) => [(x - left) * scale, height - (y - bottom) * scale]);
  const fill = (corners, value) => {
    const [r, g, b] = shade(value);
    pen.fillStyle = pen.strokeStyle = `rgb(${r},${g},${b})`;
    pen.beginPath();
    for (const c of corners) pen.lineTo(...xy[c]);
    pen.closePath(); pen.fill(); pen.stroke();
  };
  pen.lineWidth = 0.7;
  if (where.kind === "moved") {
    const { columns, rows } = where, v = picture.values;
    for (let j = 0; j + 1 < rows; j++) for (let i = 0; i + 1 < columns; i++) {
      const a = j * columns + i, corners = [a, a + 1, a + columns + 1, a + columns];
      fill(corners, corners.reduce((sum, c) => sum + v[c], 0) / 4);
    }
  } else {
    where.cells.forEach((cell, k) => fill(cell, picture.kind === "cells" ? picture.values[k] : cell.reduce((sum, c) => sum + picture.values[c], 0) / cell.length));
  }
}

function show(place, pictures, word, signed) {
  place.replaceChildren(...pictures.filter((p) => p.kind !== "number").map((picture) => {
    const figure = document.createElement("figure"), canvas = document.createElement("canvas");
    let [low, high] = span(picture.values);
    if (signed) { high = Math.max(Math.abs(low), Math.abs(high)); low = -high; }
    const mesh = picture.kind === "nodes" || picture.kind === "cells";
    if (!(mesh && where.kind === "none")) {
      draw(canvas, picture, low, high, signed ? COLOURS.signed : COLOURS.plain);
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `${word} ${picture.name}, from ${number(low)} to ${number(high)}`);
      if (canvas.width > 3 * canvas.height) figure.className = "wide";
      figure.append(canvas);
    }
    const units = picture.units && picture.units !== "1" ? ` ${picture.units}` : "";
    figure.append(Object.assign(document.createElement("figcaption"), { textContent: `${word} ${picture.name}: ${number(low)} to ${number(high)}${units}` }));
    return figure;
  }));
}

function table(place, rows, names) {
  place.replaceChildren();
  if (!rows.length) return;
  const whole = document.createElement("table");
  whole.append(document.createElement("thead"), document.createElement("tbody"));
  const line = (cells, first) => {
    const tr = document.createElement("tr");
    cells.forEach((text, k) => tr.append(Object.assign(document.createElement(first || k === 0 ? "th" : "td"), { textContent: text })));
    return tr;
  };
  whole.tHead.append(line(names, true));
  whole.tBodies[0].append(...rows.map((row) => line(row, false)));
  place.append(whole);
}

const chosen = () => ({ inputs, steps: setup.steps ? Number(at("steps").value) : null });

async function predict() {
  const mine = ++latest;
  at("answer").setAttribute("aria-busy", "true");
  at("solved").replaceChildren(); at("solved-facts").replaceChildren(); at("solve-note").textContent = setup.solver ? `No solver: ${setup.solver}` : "";
  try {
    const reply = await ask("page/predict", chosen());
    if (mine !== latest) return;
    fault(null);
    where = reply.places;
    show(at("fields"), reply.inputs, "Input", false);
    show(at("outputs"), reply.outputs, "Predicted", false);
    const v = reply.verdict, rows = [["to predict and check", time(reply.seconds)]];
    at("strange").hidden = !v || v.resembles_training;
    if (v) {
      const bound = Array.isArray(v.error_bound) ? v.error_bound[v.error_bound.length - 1] : v.error_bound;
      rows.unshift([`bound of the relative L2 error, probability ${percent(v.coverage)}`, percent(bound)], ["resembles the training inputs", v.resembles_training ? "yes" : "no"]);
    }
    facts(at("verdict"), rows);
    const numbers = reply.outputs.filter((p) => p.kind === "number").map((p) => [p.name, number(p.values[0]), "", p.units]);
    const last = (x) => (Array.isArray(x) ? x[x.length - 1] : x);
    if (v) {
      for (const [name, q] of Object.entries(v.quantities)) if (!numbers.some((row) => row[0] === name)) numbers.push([name, number(last(q.value)), `± ${number(last(q.error_bound))}`, q.units]);
      for (const [name, value] of Object.entries(v.readings)) numbers.push([`check: ${name}`, number(value), v.p_values[name] === undefined ? "" : `p = ${number(v.p_values[name])}`, ""]);
    }
    table(at("numbers"), numbers, ["number", "value", "bound or p-value", "units"]);
  } catch (error) {
    if (mine === latest) fault(error);
  }
  if (mine === latest) { at("answer").setAttribute("aria-busy", "false"); at("answer").dataset.count = mine; }
}

async function solve() {
  const mine = latest, button = at("solve");
  button.disabled = true; at("solve-note").textContent = "The solver works.";
  try {
    const reply = await ask("page/solve", chosen());
    if (mine === latest) {
      at("solve-note").textContent = "";
      facts(at("solved-facts"), [["relative L2 error of the prediction, against the solver", percent(reply.relative_l2)], ["to solve", time(reply.seconds)]]);
      show(at("solved"), reply.outputs, "Solved", false);
      const place = document.createElement("div");
      show(place, reply.differences, "Predicted less solved:", true);
      at("solved").append(...place.children);
    }
  } catch (error) {
    if (mine === latest) at("solve-note").textContent = error.message;
  }
  button.disabled = Boolean(setup.solver);
}

const value = (s, u) => (s.log ? s.low * (s.high / s.low) ** u : s.low + u * (s.high - s.low));
const place = (s, x) => (s.log ? Math.log(x / s.low) / Math.log(s.high / s.low) : (x - s.low) / (s.high - s.low || 1));

function put(slider, x) {
  if (slider.component === null) inputs[slider.name] = x;
  else inputs[slider.name][slider.component] = x;
}

function controls() {
  let wait;
  const later = () => { clearTimeout(wait); wait = setTimeout(predict, 120); };
  at("sliders").replaceChildren(...setup.sliders.map((s) => {
    const label = document.createElement("label"), shown = document.createElement("output");
    const units = s.units && s.units !== "1" ? ` ${s.units}` : "";
    label.append(Object.assign(document.createElement("span"), { textContent: s.label + (s.component === null ? "" : ` ${s.component + 1}`) }), shown);
    const x = s.component === null ? inputs[s.name] : inputs[s.name][s.component];
    let control;
    if (s.values) {
      control = document.createElement("select");
      control.append(...s.values.map((v) => new Option(number(v), v, false, v === x)));
      control.oninput = () => { put(s, Number(control.value)); later(); };
    } else {
      control = Object.assign(document.createElement("input"), { type: "range", min: 0, max: 1000 });
      control.value = 1000 * place(s, x);
      shown.textContent = number(x) + units;
      control.oninput = () => { const v = value(s, control.value / 1000); put(s, v); shown.textContent = number(v) + units; later(); };
    }
    label.append(control);
    return label;
  }));
  at("steps").oninput = () => { at("steps-value").textContent = at("steps").value; later(); };
}

async function choose(message) {
  try {
    inputs = (await ask("page/inputs", message)).inputs;
    controls();
    await predict();
  } catch (error) { fault(error); }
}

async function begin() {
  try {
    setup = await ask("page/setup");
  } catch (error) { fault(error); return; }
  inputs = setup.inputs;
  at("samples").hidden = !setup.stored && !setup.drawn;
  at("stored-label").hidden = !setup.stored;
  at("stored").append(...Array.from({ length: setup.stored }, (_, k) => new Option(`number ${k + 1}`, k)));
  at("stored").onchange = () => choose({ stored: Number(at("stored").value) });
  at("draw").hidden = !setup.drawn;
  at("draw").onclick = () => choose({ seed: Math.floor(2147483647 * Math.random()) });
  at("steps-label").hidden = !setup.steps;
  at("solve").disabled = Boolean(setup.solver);
  at("solve").onclick = solve;
  controls();
  await predict();
}
begin();
