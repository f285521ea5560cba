// Where a drawing comes from: a sample, a test image, a picture or a drawing file.

import * as api from "./api.js";

const SEEDS = 1_000_000;

/**
 * Fill the form with the controls that load drawing `name`. `load(asked, what)` is called with the
 * promise of the server's answer, and returns whether it was shown; samples are of the class
 * `label()`, or with null of any. Files can also be dropped on `stage`.
 */
export function loader(form, stage, name, label, load) {
  form.append(document.getElementById("load-controls").content.cloneNode(true));
  const file = form.querySelector("input[type=file]");
  const word = form.querySelector("input[type=text]");
  const source = form.querySelector(".source");
  const sample = form.querySelector(".sample");
  const open = form.querySelector(".open");
  sample.ariaLabel = `New sample as drawing ${name}`;
  open.ariaLabel = `Open a picture or drawing as ${name}`;
  file.ariaLabel = open.ariaLabel;
  word.ariaLabel = `Sample or test image to load as ${name}: seed:N or test:N`;

  const loading = async (asked, what) => {
    if (!(await load(asked, what))) return; // it said why
    const reply = await asked;
    source.hidden = reply.source === null;
    source.alt = reply.source === null ? "" : `${what}, as the model sees it`;
    source.title = (reply.notes ?? []).join("; ");
    if (reply.source !== null) source.src = reply.source;
  };
  const send = (chosen) => {
    if (chosen) loading(api.upload(chosen), chosen.name);
  };

  sample.addEventListener("click", () => {
    word.value = `seed:${Math.floor(Math.random() * SEEDS)}`;
    form.requestSubmit();
  });
  open.addEventListener("click", () => file.click());
  file.addEventListener("change", () => {
    send(file.files[0]);
    file.value = ""; // so that the same file can be opened again
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = word.value.trim();
    if (!text) {
      word.focus();
      return;
    }
    const of = text.startsWith("seed:") ? label() : null;
    loading(api.load(text, of), of === null ? text : `${text} of class ${of}`);
  });
  stage.addEventListener("dragover", (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    stage.classList.add("receiving");
  });
  stage.addEventListener("dragleave", () => stage.classList.remove("receiving"));
  stage.addEventListener("drop", (event) => {
    event.preventDefault();
    stage.classList.remove("receiving");
    send(event.dataTransfer.files[0]);
  });
}
