// Drawing A: all edits, their history, the strokes shown, and the pictures of the result.

import * as api from "./api.js";
import { draggable } from "./drag.js";
import { Drawing, History } from "./drawing.js";

const PLAYED_MS = 220; // from one stroke to the next

/** The drawing being edited. `onChange` is called when anything that controls show changes. */
export class Editor {
  constructor({ layout, grid, bank, ghost, pictures, status, blank }) {
    Object.assign(this, { layout, grid, bank, ghost, pictures, status, blank });
    this.drawing = new Drawing();
    this.history = new History();
    this.time = null; // strokes shown; null for all
    this.held = null; // the step whose stroke the keyboard moves
    this.busy = false;
    this.onChange = () => {};
    this.seed = 0;
    this.version = 0; // of what to show: an answer for an older one is ignored
    this.waiting = false;
    draggable(grid.element, (event) => this.#pressed(event));
    grid.element.addEventListener("keydown", (event) => this.#key(event));
    grid.element.addEventListener("focusin", () => this.onChange());
  }

  get strokes() {
    return this.drawing.ordered;
  }

  get count() {
    return this.drawing.strokes.size;
  }

  get shown() {
    return this.time ?? this.count;
  }

  // --- Editing -------------------------------------------------------------------------------

  /** Replace the drawing by an edited one, and update the pictures. */
  edit(drawing, what) {
    if (this.busy) {
      this.status.say("Please wait: the model is still drawing.");
      return;
    }
    const began = performance.now();
    this.#replace(drawing, what);
    this.#follow(what, began);
  }

  put(part, place) {
    const old = this.drawing.strokes.get(place.step);
    const same = old?.part === part && old.row === place.row && old.column === place.column;
    this.grid.setCursor(place.step);
    if (same) {
      this.status.say(`Part ${part} is already at ${this.#name(place.step)}.`);
      return;
    }
    this.edit(this.drawing.put({ ...place, part }), `Part ${part} placed at ${this.#name(place.step)}`);
  }

  move(step, place) {
    const old = this.drawing.strokes.get(step);
    this.grid.setCursor(place.step);
    if (old.step === place.step && old.row === place.row && old.column === place.column) return;
    const what = `Part ${old.part} moved to ${this.#name(place.step)}`;
    this.edit(this.drawing.move(step, place), what);
  }

  remove(step) {
    const stroke = this.drawing.strokes.get(step);
    if (!stroke) this.status.say(`There is no stroke at ${this.#name(step)}.`);
    else this.edit(this.drawing.remove(step), `Part ${stroke.part} removed`);
  }

  clear() {
    this.edit(new Drawing(), "All strokes removed");
  }

  /** Lock or unlock a cell; the pictures do not change. */
  toggleLock(step) {
    const on = !this.drawing.locked.has(step);
    this.#lock([step], on, `${on ? "Locked" : "Unlocked"} ${this.#name(step)}`);
  }

  get allLocked() {
    return this.count > 0 && this.strokes.every(({ step }) => this.drawing.locked.has(step));
  }

  toggleAllLocks() {
    const on = !this.allLocked;
    const steps = on ? [...this.drawing.strokes.keys()] : [...this.drawing.locked];
    this.#lock(steps, on, on ? "All strokes locked" : "All cells unlocked");
  }

  #lock(steps, on, what) {
    if (this.busy) return;
    const time = this.time;
    this.#replace(this.drawing.lock(steps, on), what);
    this.time = time;
    this.#changed();
    this.status.say(`${what}.`);
  }

  undo() {
    if (this.history.canUndo) this.#return(this.history.undo(this.drawing), "Undone");
  }

  redo() {
    if (this.history.canRedo) this.#return(this.history.redo(this.drawing), "Redone");
  }

  #return({ drawing, what }, how) {
    if (this.busy) return;
    this.drawing = drawing;
    this.time = null;
    this.#changed();
    this.#follow(`${how}: ${what[0].toLowerCase()}${what.slice(1)}`);
  }

  #replace(drawing, what) {
    this.history.note(this.drawing, what);
    this.drawing = drawing;
    this.time = null;
    this.#changed();
  }

  #name(step) {
    return this.layout.name(step);
  }

  // --- Requests to the model -----------------------------------------------------------------

  /** Replace the drawing by the one that the server returns, with the cells `locked` locked. */
  async take(asked, what, doing, locked = new Set()) {
    if (this.busy) return;
    const version = this.#begin(doing);
    try {
      const reply = await asked;
      this.#replace(Drawing.of(reply.drawing, locked), what);
      await this.#show(reply, version);
      this.status.say(`${what}.`);
    } catch (error) {
      this.status.fail(error);
    } finally {
      this.#end();
    }
  }

  /** Wait for an answer, and allow no edits until it arrives. */
  async hold(asked, doing) {
    this.#begin(doing);
    try {
      return await asked;
    } finally {
      this.#end();
    }
  }

  /** Show the first drawing, which cannot be undone. */
  start(reply) {
    this.drawing = Drawing.of(reply.drawing);
    this.#changed();
    this.version += 1;
    return this.#show(reply, this.version);
  }

  resample() {
    const { locked } = this.drawing;
    const seed = this.seed;
    const kept = locked.size === 1 ? "1 cell" : `${locked.size || "no"} cells`;
    const asked = this.busy ? null : api.resample(this.json(), [...locked], seed);
    if (asked) this.seed += 1;
    return this.take(asked, `Resampled with seed ${seed}, ${kept} kept`, "Resampling …", locked);
  }

  /** Paint cells of another drawing (JSON) onto this one. */
  compose(other, cells) {
    const asked = this.busy ? null : api.compose(this.json(), other, cells);
    const what = `${cells.length} ${cells.length === 1 ? "cell" : "cells"} of B painted onto A`;
    return this.take(asked, what, "Painting …", this.drawing.locked);
  }

  #begin(doing) {
    this.busy = true;
    this.status.say(doing);
    this.onChange();
    this.version += 1;
    return this.version;
  }

  #end() {
    this.busy = false;
    this.onChange();
  }

  // --- Strokes shown -------------------------------------------------------------------------

  /** Show the first `count` strokes. */
  goTo(count) {
    const to = Math.max(0, Math.min(this.count, count));
    if (to === this.shown) return;
    this.time = to === this.count ? null : to;
    this.#changed();
    this.#follow(null);
  }

  play() {
    if (this.playing) {
      this.#pause();
      return;
    }
    if (this.time === null) this.goTo(0);
    this.playing = setInterval(() => {
      this.goTo(this.shown + 1);
      if (this.time === null) this.#pause();
    }, PLAYED_MS);
    this.onChange();
  }

  #pause() {
    clearInterval(this.playing);
    this.playing = null;
    this.onChange();
  }

  // --- Pictures ------------------------------------------------------------------------------

  json(count = Infinity) {
    return this.drawing.json(this.blank, count);
  }

  /** Update the pictures: one request at a time, always for the latest drawing. */
  async #follow(what, began = performance.now()) {
    this.version += 1;
    this.announcement = what ? { what, began } : null;
    if (this.waiting) return;
    this.waiting = true;
    this.pictures.expect(true);
    try {
      let version;
      do {
        version = this.version;
        const { announcement } = this;
        await this.#show(await api.render(this.json(this.shown)), version);
        if (announcement && version === this.version) this.#announce(announcement);
      } while (version !== this.version && !this.busy);
    } catch (error) {
      this.status.fail(error);
    } finally {
      this.waiting = false;
      this.pictures.expect(false);
    }
  }

  async #show(reply, version) {
    if (version === this.version) await this.pictures.show(reply, this.shown);
  }

  /** Say what was done, and how long it took until the picture was shown. */
  #announce({ what, began }) {
    const { duration } = performance.measure("drop-to-picture", { start: began });
    this.status.say(`${what}. Decoded in ${Math.round(duration)} ms.`);
  }

  #changed() {
    const strokes = this.strokes.slice(0, this.shown);
    const latest = this.time === null ? null : (strokes.at(-1)?.step ?? null);
    const seen = new Map(strokes.map((stroke) => [stroke.step, stroke]));
    this.grid.show(new Drawing(seen, this.drawing.locked), latest);
    this.held = null;
    this.grid.mark("held", []);
    this.onChange();
  }

  // --- Pointer and keyboard ------------------------------------------------------------------

  /** Return handlers for a drag of `part` over the drawing, from the bank or from stroke `step`. */
  dragOf(part, step = null) {
    const end = () => {
      this.ghost.hide();
      this.grid.mark("target", []);
      this.grid.mark("held", []);
      document.body.classList.remove("dragging");
    };
    return {
      start: () => {
        this.ghost.show(this.bank.dress, part, this.layout.part * this.grid.scale);
        document.body.classList.add("dragging");
        if (step !== null) this.grid.mark("held", [step]);
      },
      move: (event) => {
        const { row, column, over } = this.grid.point(event);
        this.ghost.at(event, !over && step !== null);
        this.grid.mark("target", over ? [this.layout.place(row, column).step] : []);
      },
      drop: (event) => {
        end();
        const { row, column, over } = this.grid.point(event);
        const place = this.layout.place(row, column);
        if (over && step === null) this.put(part, place);
        else if (over) this.move(step, place);
        else if (step !== null) this.remove(step);
      },
      cancel: end,
    };
  }

  #pressed(event) {
    event.preventDefault(); // select no text; the cell takes the focus instead
    const { row, column } = this.grid.point(event);
    const stroke = this.layout.stroke(this.strokes.slice(0, this.shown), row, column);
    const step = stroke?.step ?? this.layout.at(row, column);
    this.grid.setCursor(step, true);
    const { inHand } = this.bank;
    if (inHand !== null) {
      return { click: () => this.put(inHand, this.layout.place(row, column)) };
    }
    if (!stroke || this.busy) return { click: () => this.#describe(step) };
    return { ...this.dragOf(stroke.part, step), click: () => this.#describe(step) };
  }

  #describe(step) {
    this.status.say(`${this.grid.cells[step].ariaLabel}.`);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { cursor } = this.grid;
    const actions = {
      Enter: () => this.#act(cursor),
      " ": () => this.#act(cursor),
      Delete: () => this.remove(cursor),
      Backspace: () => this.remove(cursor),
      Escape: () => this.putDown(),
      l: () => this.toggleLock(cursor),
      r: () => this.resample(),
      ",": () => this.goTo(this.shown - 1),
      ".": () => this.goTo(this.shown + 1),
    };
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  /** Place the picked-up part or stroke at a cell, or else pick up the stroke there. */
  #act(step) {
    const { inHand } = this.bank;
    if (inHand !== null) {
      const { top, left, side } = this.layout.cell(step);
      this.put(inHand, this.layout.place(top + side / 2, left + side / 2, step));
    } else if (this.held !== null) {
      const stroke = this.drawing.strokes.get(this.held);
      const { positions } = this.layout.facts;
      const number = positions[this.held].findIndex(
        ([row, column]) => row === stroke.row && column === stroke.column,
      );
      const [row, column] = positions[step][number];
      this.putDown();
      this.move(stroke.step, { step, row, column });
    } else if (this.drawing.strokes.has(step)) {
      this.held = step;
      this.grid.mark("held", [step]);
      this.status.say("Stroke picked up: choose a cell with the arrow keys, then press Enter.");
    } else {
      this.status.say("This cell is blank: pick up a part first, then press Enter here.");
    }
  }

  putDown() {
    this.held = null;
    this.grid.mark("held", []);
    if (this.bank.inHand !== null) this.bank.take(null);
  }
}
