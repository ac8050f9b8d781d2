"use strict";

// What the server offers is asked for at /models, questions go to its REST below /v1. Whatever comes from a server or
// a file, names above all, reaches the page as text only.

const LOOK_MS = 3000;  // between two looks at what is offered
const SMALL = 160;     // pixels; what is smaller is shown with its pixels as squares
const MOST_IMAGES = 16;

const TASKS = {
  verify: {title: "Same or different?", images: 2, ask: askVerify,
           hint: "Two images; does the model take them for the same?"},
  search: {title: "Who or what is it?", images: 1, ask: askSearch,
           hint: "One image; which entries of the gallery are most similar, and is any of them near enough?"},
  detect: {title: "Real or fake?", images: 1, ask: askDetect,
           hint: "One image; does the model take it for one that was generated?"},
  classify: {title: "Which class?", images: 1, ask: askClassify,
             hint: "One image; its class, how sure the model is, and whether it would rather not say."},
  restore: {title: "Make it larger", images: 1, ask: askRestore,
            hint: "One image; a larger one, in which the model fills in what it learnt. What it shows is a guess."},
  generate: {title: "Make new images", images: 0, ask: askGenerate,
             hint: "No image; the same seed always makes the same one."},
  embed: {title: "As a vector", images: 1, ask: askEmbed,
          hint: "One image; the numbers by which the model compares it."},
};
const ORDER = Object.keys(TASKS);
const FIELDS = {  // those a task always has, and those it has where its signature takes such an input
  generate: [["seed", "First seed", 0, 0, Number.MAX_SAFE_INTEGER - MOST_IMAGES],
             ["count", "Images", 8, 1, MOST_IMAGES]],
  label: ["label", "Class, counted from 0", 0, 0, 2 ** 31 - 1],
  scale: ["scale", "Times as large (empty: as the model likes)", "", 1, 64],
};

const $ = id => document.getElementById(id);
let offered = null;      // what /models said
let told = "";           // the same as it came
let shown = null;        // {model, task} on the page
let files = [null, null];
let asking = null;       // AbortController of the question under way
let urls = [];           // of the answer's pictures

// ---- Small parts ----

function el(tag, facts = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(facts)) {
    if (name === "text") node.textContent = value;
    else if (name === "class") node.className = value;
    else if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.filter(child => child !== null));
  return node;
}

function number(value, digits = 4) {
  return typeof value === "number" ? value.toFixed(digits) : "not a number";
}

function share(value, low = 0, high = 1) {
  return Math.min(1, Math.max(0, (value - low) / (high - low))) || 0;
}

function badge(word, kind = "") {
  return el("span", {class: `badge name ${kind}`, text: word});
}

function bar(value) {
  const fill = el("div", {class: "fill"});
  fill.style.width = `${100 * share(value)}%`;
  return el("div", {class: "bar", "aria-hidden": "true"}, fill);
}

// A score as a bar with a tick at the threshold; scores may lie beyond [0, 1].
function meter(score, threshold, kind) {
  const low = Math.min(0, score, threshold), high = Math.max(1, score, threshold);
  const fill = el("div", {class: `fill ${kind}`}), at = share(threshold, low, high);
  fill.style.width = `${100 * share(score, low, high)}%`;
  const tick = el("div", {class: `tick ${at > .85 ? "right" : at < .15 ? "left" : ""}`},
                  el("small", {text: "threshold"}));
  tick.style.left = `${100 * at}%`;
  return el("div", {class: "meter", "aria-hidden": "true"}, fill, tick);
}

function scored(score, threshold) {
  const than = score >= threshold ? "reaches" : "is below";
  return el("p", {class: "number", text: `The score ${number(score)} ${than} the threshold ${number(threshold)}.`});
}

function kept(blob) {
  urls.push(URL.createObjectURL(blob));
  return urls[urls.length - 1];
}

// An image in a box of its own shape, at most `side` pixels wide and high; `over` lies on it, just as large.
function picture(url, side, over = null, grey = false) {
  const img = el("img", {alt: ""});
  const box = el("div", {class: grey ? "picture grey" : "picture"}, img, over);
  img.onload = () => {
    box.style.maxWidth = `${Math.round(side * Math.min(1, img.naturalWidth / img.naturalHeight))}px`;
    img.classList.toggle("small", Math.max(img.naturalWidth, img.naturalHeight) < SMALL);
  };
  img.onerror = () => box.replaceChildren(
    el("p", {class: "quiet", text: "This browser cannot show the image; the model may read it all the same."}));
  img.src = url;
  return box;
}

function figure(box, caption, kind = "") {
  return el("figure", {class: kind}, box, el("figcaption", {}, caption));
}

// The map [H][W] in red, as opaque as its values in [0, 1].
function mapCanvas(map) {
  const canvas = el("canvas", {class: "over", width: map[0].length, height: map.length});
  const context = canvas.getContext("2d"), pixels = context.createImageData(canvas.width, canvas.height);
  map.flat().forEach((value, i) => pixels.data.set([232, 16, 28, Math.round(255 * share(value))], 4 * i));
  context.putImageData(pixels, 0, 0);
  return canvas;
}

function pngOf(value) {
  return new Blob([Uint8Array.from(atob(value.b64), letter => letter.charCodeAt(0))], {type: "image/png"});
}

// ---- Asking ----

class Refused extends Error {
  constructor(message, status) { super(message); this.status = status; }
}

async function answerOf(response) {
  const text = await response.text();
  let body = null;
  try {
    body = JSON.parse(text);
  } catch {  // NaN and Infinity are no JSON, but TF Serving's
    try {
      const tokens = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\b(?:NaN|Infinity)\b/g;
      body = JSON.parse(text.replace(tokens, token => token[0] === '"' ? token : "null"));
    } catch { /* no JSON at all */ }
  }
  if (response.ok && body) return body;
  const why = body && typeof body.error === "string" ? body.error
    : `The server answered ${response.status} ${response.statusText}.`;
  throw new Refused(why, response.status);
}

async function send(url, options) {
  let response;
  try {
    response = await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The server cannot be reached, or broke off; look at whether it runs, then ask again.", 0);
  }
  return answerOf(response);
}

// The outputs of a signature: {output: its column}. Where there is only one, REST answers without its name.
async function predict(version, signature, inputs, only) {
  const place = `/v1/models/${encodeURIComponent(shown.model)}/versions/${version}:predict`;
  const {outputs} = await send(place, {
    method: "POST", headers: {"Content-Type": "application/json"}, signal: asking.signal,
    body: JSON.stringify({signature_name: signature, inputs}),
  });
  return Array.isArray(outputs) ? {[only]: outputs} : outputs;
}

function encoded(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve({b64: reader.result.slice(reader.result.indexOf(",") + 1)});
    reader.onerror = () => reject(new Refused(`${file.name} cannot be read; choose it again.`, 0));
    reader.readAsDataURL(file);
  });
}

async function images() {
  const chosen = files.slice(0, TASKS[shown.task].images);
  const missing = chosen.filter(file => !file).length;
  if (missing) throw new Refused(missing > 1 ? "Choose two images first." : "Choose an image first.", 0);
  for (const file of chosen) if (!file.size) throw new Refused(`${file.name} is empty; choose another file.`, 0);
  const bytes = chosen.reduce((sum, file) => sum + 4 * Math.ceil(file.size / 3), 1000), most = offered.largest_upload;
  if (bytes > most) {
    const room = Math.floor(3 * (most - 1000) / 4).toLocaleString("en");
    throw new Refused(`${chosen.map(file => file.name).join(" and ")} ${chosen.length > 1 ? "have" : "has"} ` +
      `${chosen.reduce((sum, file) => sum + file.size, 0).toLocaleString("en")} bytes but this page sends at most ` +
      `${room}; choose a smaller file, or use python -m serving.client.`, 0);
  }
  return Promise.all(chosen.map(encoded));
}

function field(name) {
  const input = $(`field-${name}`);
  return input && input.value !== "" ? input.valueAsNumber : null;
}

async function askVerify(version) {
  const [first, second] = await images();
  const answer = await predict(version, "verify", {image_bytes_1: [first], image_bytes_2: [second]});
  const same = answer.decision[0], kind = same ? "good" : "doubt";
  return [
    el("div", {class: "badges"}, badge(same ? "same" : "different", kind)),
    scored(answer.score[0], answer.threshold[0]),
    meter(answer.score[0], answer.threshold[0], kind),
    el("p", {class: "quiet", text: "Were there as many same as different pairs, it would be the same with " +
      `probability ${number(answer.probability[0])}; the threshold decides.`}),
  ];
}

async function askSearch(version) {
  const [image] = await images();
  const answer = await predict(version, "search", {image_bytes: [image]});
  const [identities, scores, entries] = [answer.identities[0], answer.scores[0], answer.entries[0]];
  const unknown = answer.unknown[0], best = Math.max(...scores.filter(Number.isFinite), 0);
  const rows = identities.map((identity, i) => el("li", {},
    el("div", {class: "line"}, el("span", {class: "quiet number", text: `${i + 1}.`}),
       el("span", {class: "name", text: identity || "no name"}),
       el("span", {class: "number", text: number(scores[i])})),
    bar(best ? scores[i] / best : 0), el("small", {class: "name", text: entries[i]})));
  return [
    el("div", {class: "badges"}, unknown ? badge("unknown", "doubt") : badge("known", "good"),
       unknown || !identities.length ? null : badge(identities[0])),
    el("p", {text: unknown ? "Nothing in the gallery is near enough; these are the nearest all the same."
                           : "The nearest entries of the gallery, best first."}),
    vote(identities, unknown),
    el("ol", {class: "rows"}, ...rows),
  ];
}

// Where identities occur more than once they vote; of equally frequent ones that of the nearest entry wins.
function vote(identities, unknown) {
  const counts = new Map();
  for (const identity of identities) if (identity) counts.set(identity, (counts.get(identity) || 0) + 1);
  const ordered = [...counts].sort((one, other) => other[1] - one[1]);
  if (unknown || !ordered.length || ordered[0][1] < 2) return null;
  const all = ordered.reduce((sum, [, count]) => sum + count, 0);
  const others = ordered.slice(1).map(([name, count]) => `, ${name} ${count}`).join("");
  return el("p", {class: "name", text: `Vote: ${ordered[0][0]} ${ordered[0][1]} of ${all}${others}.`});
}

async function askDetect(version, extras) {
  const [image] = await images();
  const answer = await predict(version, "detect", {image_bytes: [image]});
  const fake = answer.decision[0], kind = fake ? "bad" : "good";
  return [
    el("div", {class: "badges"}, badge(fake ? "fake" : "real", kind)),
    scored(answer.score[0], answer.threshold[0]),
    meter(answer.score[0], answer.threshold[0], kind),
    el("p", {class: "quiet", text: `Probability of a fake: ${number(answer.probability[0])}; the threshold decides. ` +
      "The answer is evidence, not proof."}),
    extras.includes("fake_map") ? await mapped(version, "fake_map", image, "a fake") : null,
  ];
}

async function askClassify(version, extras) {
  const [image] = await images();
  const answer = await predict(version, "classify", {image_bytes: [image]});
  const abstain = answer.abstain[0], label = answer.label[0], probabilities = answer.probabilities[0];
  const rows = answer.classes[0].map((name, i) => [name, probabilities[i]]).sort((one, other) => other[1] - one[1]);
  const unsure = answer.uncertainty ? ` Uncertainty: ${number(answer.uncertainty[0])}.` : "";
  return [
    el("div", {class: "badges"}, badge(label), abstain ? badge("unsure: ask a person", "doubt") : null),
    el("p", {text: (abstain ? "The model abstains; the label above only leads."
                            : "The model is sure enough to answer.") + unsure}),
    el("ol", {class: "rows"}, ...rows.map(([name, value]) => el("li", {},
      el("div", {class: "line"}, el("span", {class: "name", text: name}),
         el("span", {class: "number", text: number(value)})), bar(value)))),
    extras.includes("explain") ? await mapped(version, "explain", image, "the label") : null,
  ];
}

// The image beside itself in grey with what speaks for the answer in red; a map that fails spoils no answer.
async function mapped(version, signature, image, what) {
  let map;
  try {
    map = (await predict(version, signature, {image_bytes: [image]}, "map")).map[0];
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return el("p", {class: "quiet", text: `Where the answer lies cannot be shown: ${error.message}`});
  }
  const url = kept(files[0]);
  return el("div", {},
    el("div", {class: "pictures"}, figure(picture(url, 320), "as it is"),
       figure(picture(url, 320, mapCanvas(map), true), "what speaks for it")),
    el("p", {class: "quiet"}, el("span", {class: "ramp"}), `the redder a place, the more it speaks for ${what}`));
}

async function askRestore(version, extras) {
  const [image] = await images();
  const inputs = {image_bytes: [image]};
  if (extras.includes("scale")) inputs.scale = [field("scale") || 0];
  const made = pngOf((await predict(version, "restore", inputs, "image_bytes")).image_bytes[0]);
  const url = kept(made), before = el("img", {alt: "", class: "over", src: kept(files[0])});
  const box = picture(url, 512, before), restored = box.querySelector("img");
  const sizes = el("span"), slider = el("input", {type: "range", min: 0, max: 100, value: 50});
  slider.setAttribute("aria-label", "How much of the image before is shown");
  const cut = () => { before.style.clipPath = `inset(0 ${100 - slider.value}% 0 0)`; };
  slider.oninput = cut;
  cut();
  const tell = () => {
    if (!before.naturalWidth || !restored.naturalWidth) return;
    sizes.textContent = `${before.naturalWidth} × ${before.naturalHeight} pixels became ` +
      `${restored.naturalWidth} × ${restored.naturalHeight} (width × height). `;
  };
  before.addEventListener("load", tell);
  restored.addEventListener("load", tell);
  const name = `${files[0].name.replace(/\.[^.]*$/, "")}-restored.png`;
  return [
    figure(el("div", {}, box, slider, el("div", {class: "ends"}, el("span", {text: "◂ before, stretched"}),
                                         el("span", {text: "restored ▸"}))),
           el("span", {}, sizes, el("a", {href: url, download: name, text: "Save the restored image"})), "wide"),
  ];
}

async function askGenerate(version, extras) {
  const seeds = Array.from({length: field("count")}, (_, i) => field("seed") + i), inputs = {seed: seeds};
  if (extras.includes("label")) inputs.label = seeds.map(() => field("label"));
  const made = (await predict(version, "generate", inputs, "image_bytes")).image_bytes;
  return [el("div", {class: "sheet"}, ...made.map((value, i) => {
    const url = kept(pngOf(value));
    return figure(picture(url, 256), el("a", {href: url, download: `${seeds[i]}.png`, text: `seed ${seeds[i]}`}));
  }))];
}

async function askEmbed(version) {
  const [image] = await images();
  const vector = (await predict(version, "embed", {image_bytes: [image]}, "embedding")).embedding[0];
  const length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
  const some = vector.slice(0, 32).map(value => number(value, 3)).join("  ");
  return [
    el("p", {class: "number", text: `${vector.length.toLocaleString("en")} numbers, length ${number(length)}.`}),
    el("p", {class: "quiet number", text: some + (vector.length > 32 ? "  …" : "")}),
  ];
}

// ---- The page ----

function modelOf(name) {
  return offered.models.find(model => model.name === name);
}

// The versions that can be asked for a task, newest first.
function able(model, task) {
  return model ? model.versions.filter(one => one.state === "AVAILABLE" && task in one.tasks) : [];
}

function stateOf(version) {
  const words = {START: "waits to be loaded", LOADING: "is being loaded", UNLOADING: "is being unloaded",
                 AVAILABLE: "goes on serving", END: "cannot be loaded"};
  return `Version ${version.version} ${words[version.state]}${version.error ? `: ${version.error}` : "."}`;
}

function place(model, task) {
  return `#${encodeURIComponent(model)}/${task}`;
}

function wanted() {
  const [model, task] = location.hash.slice(1).split("/");
  try {
    return {model: decodeURIComponent(model), task};
  } catch {  // no such address was made here
    return {model: "", task: ""};
  }
}

function render() {
  const links = [], waiting = [];
  for (const model of offered.models) {
    const tasks = ORDER.filter(task => able(model, task).length);
    links.push(...tasks.map(task => ({model: model.name, task})));
    if (tasks.length) continue;
    const serves = model.versions.some(version => version.state === "AVAILABLE");
    const why = serves ? "answers nothing that this page can ask; use gRPC or REST."
      : model.versions.length ? model.versions.map(stateOf).join(" ") : "has no version yet.";
    waiting.push(el("li", {}, el("strong", {class: "name", text: model.name}), ` ${why}`));
  }
  links.sort((one, other) => ORDER.indexOf(one.task) - ORDER.indexOf(other.task));
  const asked = wanted();
  const current = links.find(link => link.model === asked.model && link.task === asked.task) ||
    (modelOf(asked.model) ? null : links[0]);
  $("tasks").replaceChildren(...links.map(link => {
    const node = el("a", {href: place(link.model, link.task)}, TASKS[link.task].title,
                    el("small", {class: "name", text: link.model}));
    if (link === current) node.setAttribute("aria-current", "page");
    return el("li", {}, node);
  }));
  $("waiting").replaceChildren(...waiting);
  $("nothing").hidden = Boolean(current);
  $("nothing").textContent = links.length ? `${asked.model} cannot be asked this at the moment; choose another.`
    : "No model can be asked yet; this page looks again every few seconds.";
  $("task").hidden = !current;
  if (!current) shown = null;
  else if (!shown || shown.model !== current.model || shown.task !== current.task) {
    open(current);
    const bar = $("tasks"), link = bar.querySelector("[aria-current]");
    bar.scrollLeft = link.offsetLeft - (bar.clientWidth - link.offsetWidth) / 2;  // on a phone it is a row
  }
  if (shown) renderVersions();
}

function open(link) {
  shown = link;
  if (asking) asking.abort();
  asking = null;
  clear();
  const task = TASKS[link.task];
  $("title").textContent = task.title;
  $("hint").textContent = task.hint;
  $("version").replaceChildren();
  $("zones").replaceChildren(...Array.from({length: task.images}, (_, i) => zone(i, task.images)));
  for (const old of document.querySelectorAll("#fields .own")) old.remove();
  const extras = able(modelOf(link.model), link.task)[0].tasks[link.task];
  const fields = [...(FIELDS[link.task] || []), ...extras.filter(name => FIELDS[name]).map(name => FIELDS[name])];
  for (const [name, title, value, min, max] of fields) {
    const input = el("input", {type: "number", id: `field-${name}`, min, max, step: 1, value,
                               required: name !== "scale"});
    $("fields").append(el("label", {class: "own"}, `${title} `, input));
  }
  $("ask").textContent = task.images ? "Ask" : "Make";
}

function renderVersions() {
  const model = modelOf(shown.model), versions = able(model, shown.task), numbers = versions.map(one => one.version);
  const select = $("version"), before = select.value || "newest";
  const options = [["newest", `newest (${numbers[0]})`], ...numbers.map(one => [one, `version ${one}`]),
                   ...Object.entries(model.labels).filter(([, one]) => numbers.includes(one))
                     .map(([label, one]) => [`=${label}`, `${label} (version ${one})`])];
  select.replaceChildren(...options.map(([value, text]) => el("option", {value, text})));
  select.value = options.some(([value]) => value === before) ? before : "newest";
  const others = versions[0].others;
  $("states").replaceChildren(
    ...model.versions.filter(one => one.state !== "AVAILABLE" || one.error).map(one => el("li", {text: stateOf(one)})),
    ...(others.length ? [el("li", {text: `Not asked here but by gRPC or REST: ${others.join(", ")}.`})] : []));
}

function chosenVersion() {
  const value = $("version").value, versions = able(modelOf(shown.model), shown.task);
  const wanted = value === "newest" ? versions[0].version
    : value.startsWith("=") ? modelOf(shown.model).labels[value.slice(1)] : value;
  return versions.find(one => one.version === wanted) || versions[0];
}

function zone(i, count) {
  const input = el("input", {type: "file", id: `file-${i}`, accept: "image/*", multiple: count > 1});
  input.setAttribute("aria-label", count > 1 ? ["First image", "Second image"][i] : "Image");
  const inside = el("div"), label = el("div", {class: "zone"}, inside, input);
  input.onchange = () => take([...input.files], i);
  for (const name of ["dragenter", "dragover"]) label.addEventListener(name, () => label.classList.add("over"));
  for (const name of ["dragleave", "drop"]) label.addEventListener(name, () => label.classList.remove("over"));
  fillZone(inside, i, count);
  return label;
}

function fillZone(inside, i, count) {
  const file = files[i];
  if (inside.url) URL.revokeObjectURL(inside.url);
  if (!file) {
    const which = el("strong", {text: count > 1 ? ["the first", "the second"][i] : "an"});
    inside.replaceChildren(el("div", {}, "Drop ", which, " image here"),
                           el("small", {text: "or click to choose it, or paste it"}));
    return;
  }
  inside.url = URL.createObjectURL(file);
  inside.replaceChildren(picture(inside.url, 160), el("div", {class: "name", text: file.name}),
                         el("small", {text: `${file.size.toLocaleString("en")} bytes`}));
}

// New files, from the slot `i` on; the question is asked as soon as all images are there.
function take(chosen, i) {
  const count = shown ? TASKS[shown.task].images : 0;
  if (!count || !chosen.length) return;
  const start = chosen.length >= count ? 0 : i;
  chosen.slice(0, count).forEach((file, k) => { files[(start + k) % count] = file; });
  document.querySelectorAll(".zone").forEach((node, k) => fillZone(node.firstChild, k, count));
  clear();
  if (files.slice(0, count).every(Boolean)) ask();
}

function clear() {
  urls.splice(0).forEach(url => URL.revokeObjectURL(url));
  $("answer").replaceChildren();
  $("problem").hidden = true;
}

async function ask() {
  if (!$("form").reportValidity()) return;
  if (asking) asking.abort();
  const own = asking = new AbortController();
  clear();
  $("answer").append(el("p", {class: "quiet", text: "The model is at work …"}));
  const began = performance.now();
  try {
    let version = chosenVersion(), parts;
    try {
      parts = await TASKS[shown.task].ask(version.version, version.tasks[shown.task]);
    } catch (error) {  // the newest version may have made way for a newer one since the last look
      if (error.status !== 404 || $("version").value !== "newest") throw error;
      await look();
      if (own !== asking || !shown || chosenVersion().version === version.version) throw error;
      version = chosenVersion();
      parts = await TASKS[shown.task].ask(version.version, version.tasks[shown.task]);
    }
    if (own !== asking) return;
    const seconds = ((performance.now() - began) / 1000).toFixed(2);
    $("answer").replaceChildren(...parts.filter(Boolean), el("p", {class: "quiet name",
      text: `Answered by ${shown.model}, version ${version.version}, in ${seconds} s.`}));
  } catch (error) {
    if (own !== asking || error.name === "AbortError") return;
    clear();
    $("problem").textContent = error instanceof Refused ? error.message
      : `The answer is not what this page understands: ${error.message}`;
    $("problem").hidden = false;
    if (error.status === 404) look();
  }
}

async function look() {
  try {
    const response = await fetch("/models");
    const text = await response.text();
    if (!response.ok) throw new Error(text);
    $("away").hidden = true;
    if (text === told) return;
    offered = JSON.parse(text);
    told = text;
    render();
  } catch {
    $("away").hidden = false;
  }
}

async function keepLooking() {
  if (!document.hidden) await look();
  setTimeout(keepLooking, LOOK_MS);
}

$("form").addEventListener("submit", event => { event.preventDefault(); ask(); });
window.addEventListener("hashchange", () => { if (offered) render(); });
document.addEventListener("paste", event => {
  const free = files.findIndex(file => !file);
  take([...event.clipboardData.files], Math.max(0, free));
});
// Beside the zones a dropped file would take the place of the page; several belong to all zones.
for (const name of ["dragover", "drop"]) window.addEventListener(name, event => {
  const dropped = event.dataTransfer ? [...event.dataTransfer.files] : [];
  const onZone = event.target.matches && event.target.matches(".zone input");
  if (onZone && dropped.length < 2) return;  // the input takes a single one itself
  event.preventDefault();
  if (name === "drop") take(dropped, 0);
});
keepLooking();
