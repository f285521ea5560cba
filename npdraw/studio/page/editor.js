// Drawing A: all edits, their history, the strokes shown, and the pictures of the result.

import * as api from "./api.js";
import { draggable } from "./drag.js";
import { Drawing, History, described } from "./drawing.js";
import { lookOf } from "./palette.js";

const PLAYED_MS = 220; // from one stroke to the next

/** The drawing being edited. `onChange` is called when anything that controls show changes. */
export class Editor {
  constructor({ layout, grid, bank, palette, ghost, pictures, status, blank, label }) {
    Object.assign(this, { layout, grid, bank, palette, ghost, pictures, status, blank });
    this.label = label; // returns the class of what is resampled, or null for any
    this.drawing = new Drawing();
    this.history = new History();
    this.time = null; // strokes shown; null for all
    this.held = null; // the step whose stroke the keyboard moves
    this.selected = null; // the step whose stroke the palette shows
    this.busy = false;
    this.onChange = () => {};
    this.seed = 0;
    this.version = 0; // of what to show: an answer for an older one is ignored
    this.waiting = false;
    draggable(grid.element, (event) => this.#pressed(event));
    grid.element.addEventListener("keydown", (event) => this.#key(event));
    grid.element.addEventListener("focusin", () => this.onChange());
    grid.onMove = (step) => this.select(step);
  }

  get layer() {
    return this.grid.layer;
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
      this.select(this.selected);
      return;
    }
    const began = performance.now();
    this.#replace(drawing, what);
    this.#follow(what, began);
  }

  put(part, place) {
    const stroke = { ...place, part, ...this.palette.ink };
    this.grid.setCursor(place.step);
    if (this.#has(stroke)) {
      this.status.say(`Part ${part} is already at ${this.#name(place.step)}.`);
      return;
    }
    this.edit(this.drawing.put(stroke), `Part ${part} placed at ${this.#name(place.step)}`);
  }

  #has(stroke) {
    const old = this.drawing.strokes.get(stroke.step);
    return old !== undefined && Object.keys(stroke).every((key) => old[key] === stroke[key]);
  }

  /** Give a part to the selected stroke; without one pick it up, or with null put it down. */
  pick(part) {
    if (this.selected === null) this.bank.take(part);
    else this.restyle({ part });
  }

  /** Change part, ink or contrast of the selected stroke, if there is one. */
  restyle(change) {
    this.bank.wear(this.palette.look);
    if (this.selected === null) return;
    const stroke = { ...this.drawing.strokes.get(this.selected), ...change };
    if (this.#has(stroke)) return;
    const what = `Stroke at ${this.#name(stroke.step)} changed to ${described(stroke)}`;
    this.edit(this.drawing.put(stroke), what);
  }

  /** Select the stroke of a step, if it has one with ink: the palette shows and changes it. */
  select(step) {
    if (!this.palette.inked) return;
    const stroke = this.bank.inHand === null ? this.drawing.strokes.get(step) : undefined;
    this.selected = stroke && this.layout.layer(step) === this.layer ? step : null;
    this.grid.mark("selected", this.selected === null ? [] : [step]);
    if (this.bank.inHand === null) this.bank.options.select(this.selected === null ? null : stroke.part);
    if (this.selected === null) return;
    this.palette.show(stroke);
    this.bank.wear(this.palette.look);
  }

  /** Edit the strokes of the layer that the palette shows. */
  changeLayer() {
    this.putDown();
    this.grid.setLayer(this.palette.layer);
    this.bank.wear(this.palette.look);
    this.onChange();
  }

  move(step, place) {
    const old = this.drawing.strokes.get(step);
    this.grid.setCursor(place.step);
    if (old.step === place.step && old.row === place.row && old.column === place.column) return;
    const what = `Part ${old.part} moved to ${this.#name(place.step)}`;
    this.edit(this.drawing.move(step, place), what);
    this.select(place.step);
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

  /**
   * Replace the drawing by the one that the server returns, with the cells `locked` locked. Return
   * whether that was done.
   */
  async take(asked, what, doing, locked = new Set()) {
    if (this.busy) {
      this.status.say("Please wait: the model is busy.");
      return false;
    }
    const version = this.#begin(doing);
    try {
      const reply = await asked;
      this.selected = null;
      this.#replace(Drawing.of(reply.drawing, locked), what);
      await this.#show(reply, version);
      this.status.say(`${what}.`);
      return true;
    } catch (error) {
      this.status.fail(error);
      return false;
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
    const label = this.label();
    const asked = this.busy ? null : api.resample(this.json(), [...locked], seed, label);
    if (asked) this.seed += 1;
    const as = label === null ? "" : ` as class ${label}`;
    return this.take(asked, `Resampled${as} with seed ${seed}, ${kept} kept`, "Resampling …", locked);
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
    this.select(this.selected);
    this.onChange();
  }

  // --- Pointer and keyboard ------------------------------------------------------------------

  /** Return handlers for a drag over the drawing: of `part` from the bank, or of stroke `step`. */
  dragOf(part, step = null) {
    const ink = step === null ? this.palette.ink : this.drawing.strokes.get(step);
    const end = () => {
      this.ghost.hide();
      this.grid.mark("target", []);
      this.grid.mark("held", []);
      document.body.classList.remove("dragging");
    };
    return {
      start: () => {
        const side = this.layout.part(this.layer) * this.grid.scale;
        this.ghost.show(this.bank.dress, part, lookOf(this.layer, ink), side);
        document.body.classList.add("dragging");
        if (step !== null) this.grid.mark("held", [step]);
      },
      move: (event) => {
        const { row, column, over } = this.grid.point(event);
        this.ghost.at(event, !over && step !== null);
        this.grid.mark("target", over ? [this.#place(row, column).step] : []);
      },
      drop: (event) => {
        end();
        const { row, column, over } = this.grid.point(event);
        const place = this.#place(row, column);
        if (over && step === null) this.#drop(part, place);
        else if (over) this.move(step, place);
        else if (step !== null) this.remove(step);
      },
      cancel: end,
    };
  }

  #place(row, column) {
    return this.layout.place(row, column, this.layout.steps(this.layer));
  }

  #drop(part, place) {
    this.put(part, place);
    this.select(place.step);
  }

  #pressed(event) {
    event.preventDefault(); // select no text; the cell takes the focus instead
    const { row, column } = this.grid.point(event);
    const shown = this.strokes.slice(0, this.shown);
    const stroke = this.layout.stroke(shown, row, column, this.layer);
    const step = stroke?.step ?? this.layout.at(row, column, this.layer);
    this.grid.setCursor(step, true);
    this.select(step);
    const { inHand } = this.bank;
    if (inHand !== null) {
      return { click: () => this.put(inHand, this.#place(row, column)) };
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
      this.put(inHand, this.layout.place(top + side / 2, left + side / 2, [step]));
    } else if (this.held !== null) {
      const stroke = this.drawing.strokes.get(this.held);
      const { positions } = this.layout;
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
    this.select(null);
  }
}
