// The page: sets up its components, buttons and shortcuts.

import * as api from "./api.js";
import { Bank } from "./bank.js";
import { Classes } from "./classes.js";
import { Ghost } from "./drag.js";
import { Layout } from "./drawing.js";
import { Editor } from "./editor.js";
import { Grid } from "./grid.js";
import { Palette } from "./palette.js";
import { Region } from "./region.js";
import { loader } from "./source.js";

const find = (id) => document.getElementById(id);

const status = {
  element: find("status"),
  say(text) {
    this.element.textContent = text;
    this.element.classList.remove("failed");
  },
  fail(error) {
    this.say(error instanceof api.StudioError ? error.message : `Error in the page: ${error}`);
    this.element.classList.add("failed");
    if (!(error instanceof api.StudioError)) console.error(error);
  },
};

const pictures = {
  canvas: find("canvas"),
  image: find("image"),
  /** Mark whether newer pictures are being computed. */
  expect(coming) {
    this.image.ariaBusy = String(coming);
  },
  /** Show the pictures of an answer, and return when they are visible. */
  async show(reply, strokes) {
    this.canvas.alt = `Canvas of drawing A, ${strokes} strokes`;
    this.image.alt = `Image decoded from ${strokes} strokes of drawing A`;
    this.canvas.src = reply.canvas;
    this.image.src = reply.image;
    this.classes?.show(reply.chances);
    const decoded = [this.canvas, this.image].map((picture) => picture.decode());
    await Promise.allSettled(decoded); // a picture replaced by a later one is not a failure
  },
};

async function start() {
  const facts = await api.model();
  const layout = new Layout(facts);
  find("model").textContent = facts.name;
  document.title = `${facts.name} · npdraw studio`;
  const { inks } = facts.layers[0];
  find("bank-note").textContent = inks.length ? facts.parts : `${facts.parts}, most used first`;
  if (inks.length) find("bank-help").append(" Click a stroke to change its part, ink or contrast.");
  find("bank").style.setProperty("--strip", Math.ceil(facts.parts / 3));
  const [height, width] = facts.image;
  find("image").parentElement.style.aspectRatio = `${width} / ${height}`;

  const grid = new Grid(find("a"), layout, { label: "Cells of drawing A", help: "a-help" });
  const other = new Grid(find("b"), layout, { label: "Cells of drawing B", help: "b-help" });
  let editor;
  const bank = new Bank(find("bank"), facts, {
    drag: (part) => editor.dragOf(part),
    onPick: (part) => editor.pick(part),
    onTake: (part) => taken(part, grid),
    status,
  });
  const palette = new Palette(layout, {
    onLayer: () => {
      editor.changeLayer();
      other.setLayer(palette.layer);
    },
    onPick: () => editor.restyle(palette.ink),
  });
  const ghost = new Ghost();
  const { blank } = facts;
  const classes = new Classes(find("classes"), find("chances"), facts.classes);
  pictures.classes = classes;
  const label = () => classes.chosen;
  editor = new Editor({ layout, grid, bank, palette, ghost, pictures, status, blank, label });
  bank.wear(palette.look);
  const region = new Region({
    layout,
    grid: other,
    other: grid,
    picture: find("b-canvas"),
    status,
    paint: (drawing, cells) => editor.compose(drawing, cells),
  });
  editor.onChange = () => controls(editor);
  buttons(editor, facts);
  keys(editor);
  loader(find("a-load"), find("a"), "A", label, (asked, what) =>
    editor.take(asked, `${what} loaded as drawing A`, "Loading drawing A …"),
  );
  loader(find("b-load"), find("b"), "B", label, (asked, what) => region.take(asked, what));
  // Sampling many strokes takes seconds: show an empty canvas until then, and allow no edits.
  await pictures.show(await api.render(facts.blank), 0);
  await editor.start(await editor.hold(api.load("seed:0", null), "The model is drawing A …"));
  await region.show(await editor.hold(api.load("seed:1", null), "The model is drawing B …"));
  status.say("Ready. Drag a part onto the drawing.");
  document.documentElement.dataset.ready = "";
}

/** Report a picked-up part; if it was picked up by keyboard, move the focus to the drawing. */
function taken(part, grid) {
  find("a").classList.toggle("placing", part !== null);
  if (part === null) {
    status.say("Part put down.");
    return;
  }
  status.say(`Part ${part} picked up: choose a cell for it, or press Esc to put it down.`);
  if (document.activeElement?.matches("#bank .part:focus-visible")) {
    grid.setCursor(grid.cursor, true);
  }
}

/** Update the controls: what they show, and which are enabled. */
function controls(editor) {
  const { busy, count, shown, drawing, grid } = editor;
  const cursor = grid.cursor;
  document.body.classList.toggle("busy", busy);
  find("a").ariaBusy = String(busy);
  find("undo").disabled = busy || !editor.history.canUndo;
  find("redo").disabled = busy || !editor.history.canRedo;
  find("remove").disabled = busy || !drawing.strokes.has(cursor);
  find("clear").disabled = busy || count === 0;
  const [content] = (grid.cells[cursor].ariaLabel ?? "").split(", locked"); // a lock is visible anyway
  find("cell").textContent = content;
  find("lock").disabled = busy;
  find("lock").textContent = drawing.locked.has(cursor) ? "Unlock" : "Lock";
  find("lock-all").disabled = busy || (count === 0 && drawing.locked.size === 0);
  const release = editor.allLocked || (count === 0 && drawing.locked.size > 0);
  find("lock-all").textContent = release ? "Unlock all" : "Lock all";
  find("resample").disabled = busy;
  find("time").max = count;
  find("time").value = shown;
  find("time").ariaValueText = `${shown} of ${count} strokes`;
  find("earlier").disabled = shown === 0;
  find("later").disabled = shown === count;
  find("play").disabled = count === 0;
  find("play").textContent = editor.playing ? "❚❚" : "▶";
  find("play").ariaLabel = editor.playing ? "Pause" : "Play the strokes";
  find("strokes").textContent = `${shown} of ${count}`;
}

function buttons(editor, facts) {
  const actions = {
    undo: () => editor.undo(),
    redo: () => editor.redo(),
    keys: () => find("help").showModal(),
    play: () => editor.play(),
    earlier: () => editor.goTo(editor.shown - 1),
    later: () => editor.goTo(editor.shown + 1),
    lock: () => editor.toggleLock(editor.grid.cursor),
    remove: () => editor.remove(editor.grid.cursor),
    "lock-all": () => editor.toggleAllLocks(),
    clear: () => editor.clear(),
    resample: () => editor.resample(),
    "save-image": () => save("image.png", bytes(pictures.image.src), "image/png"),
    "save-canvas": () => save("canvas.png", bytes(pictures.canvas.src), "image/png"),
    "save-drawing": () =>
      save("drawing.json", `${JSON.stringify(editor.json(), null, 2)}\n`, "application/json"),
  };
  for (const [id, action] of Object.entries(actions)) find(id).addEventListener("click", action);
  find("time").addEventListener("input", (event) => editor.goTo(Number(event.target.value)));

  const stem = facts.name.split("/").at(-1).replace(/\.safetensors$/, "");
  function save(name, content, type) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content], { type }));
    link.download = `${stem}-${name}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    status.say(`Saved ${link.download}.`);
  }
}

/** The bytes of a data: URL. */
function bytes(url) {
  return Uint8Array.from(atob(url.split(",")[1]), (letter) => letter.charCodeAt(0));
}

/** Shortcuts that work everywhere except in the text fields. */
function keys(editor) {
  document.addEventListener("keydown", (event) => {
    if (event.target.matches("input[type=text]") || find("help").open) return;
    const key = event.key.toLowerCase();
    if (event.ctrlKey || event.metaKey) {
      if (key === "z" && !event.shiftKey) editor.undo();
      else if (key === "y" || key === "z") editor.redo();
      else return;
      event.preventDefault();
    } else if (key === "?") {
      find("help").showModal();
    } else if (key === "escape") {
      editor.putDown();
    }
  });
}

start().catch((error) => status.fail(error));
