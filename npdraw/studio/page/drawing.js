// Drawings, and where their strokes can be. Drawings are immutable: an edit returns a new one.

/** Strokes by step, and the locked steps, which resampling keeps. */
export class Drawing {
  constructor(strokes = new Map(), locked = new Set()) {
    this.strokes = strokes;
    this.locked = locked;
  }

  /** Read the JSON that npdraw writes; it does not contain locks. */
  static of(json, locked = new Set()) {
    return new Drawing(new Map(json.strokes.map((stroke) => [stroke.step, stroke])), locked);
  }

  /** The strokes in the order in which they are painted. */
  get ordered() {
    return [...this.strokes.values()].sort((a, b) => a.step - b.step);
  }

  /** Return JSON for npdraw with the first `count` strokes; `blank` is the JSON of no strokes. */
  json(blank, count = Infinity) {
    return { ...blank, strokes: this.ordered.slice(0, count) };
  }

  put(stroke) {
    return new Drawing(new Map(this.strokes).set(stroke.step, stroke), this.locked);
  }

  /** Return the drawing without the stroke and the lock of a step. */
  remove(step) {
    const strokes = new Map(this.strokes);
    const locked = new Set(this.locked);
    strokes.delete(step);
    locked.delete(step);
    return new Drawing(strokes, locked);
  }

  /** Return the drawing with the stroke of a step, and its lock, moved to another place. */
  move(step, place) {
    const { part } = this.strokes.get(step);
    const moved = this.remove(step).put({ ...place, part });
    return this.locked.has(step) ? moved.lock([place.step], true) : moved;
  }

  lock(steps, on) {
    const locked = new Set(this.locked);
    for (const step of steps) {
      if (on) locked.add(step);
      else locked.delete(step);
    }
    return new Drawing(this.strokes, locked);
  }
}

/** Where parts can be placed; lengths are in pixels of the canvas. */
export class Layout {
  constructor(facts) {
    this.facts = facts;
    this.rows = facts.rows;
    this.columns = facts.columns;
    this.steps = facts.rows * facts.columns;
    [this.height, this.width] = facts.canvas;
    this.part = facts.part_size;
  }

  /** The square of a step's cell: the centre of the area that its placements cover. */
  cell(step) {
    const { stride, window, positions } = this.facts;
    const [top, left] = positions[step][0];
    const margin = (window - stride) / 2;
    return { top: top + margin, left: left + margin, side: stride };
  }

  /** The step whose cell contains a point, or the nearest one. */
  at(row, column) {
    const { top, left, side } = this.cell(0);
    const nearest = (value, count) => Math.max(0, Math.min(count - 1, Math.floor(value)));
    const y = nearest((row - top) / side, this.rows);
    return y * this.columns + nearest((column - left) / side, this.columns);
  }

  /** The place, of one step or of any, where a part is centred nearest to a point. */
  place(row, column, step = null) {
    let best = null;
    const steps = step === null ? this.facts.positions.keys() : [step];
    for (const candidate of steps) {
      for (const [top, left] of this.facts.positions[candidate]) {
        const y = top + this.part / 2 - row;
        const x = left + this.part / 2 - column;
        const distance = y * y + x * x;
        if (best === null || distance < best.distance) {
          best = { distance, step: candidate, row: top, column: left };
        }
      }
    }
    return { step: best.step, row: best.row, column: best.column };
  }

  /** The last painted stroke that covers a point; undefined if none does. */
  stroke(strokes, row, column) {
    return strokes.findLast(
      (s) => row >= s.row && row < s.row + this.part && column >= s.column && column < s.column + this.part,
    );
  }

  /** The steps of the cells in the rectangle between two of them. */
  between(one, other) {
    const [top, bottom] = this.#sorted(one, other, (step) => Math.floor(step / this.columns));
    const [left, right] = this.#sorted(one, other, (step) => step % this.columns);
    const steps = [];
    for (let row = top; row <= bottom; row += 1) {
      for (let column = left; column <= right; column += 1) steps.push(row * this.columns + column);
    }
    return steps;
  }

  #sorted(one, other, coordinate) {
    return [coordinate(one), coordinate(other)].sort((a, b) => a - b);
  }

  /** The neighbouring step in the direction of a key; the step itself at an edge. */
  neighbour(step, key) {
    const row = Math.floor(step / this.columns);
    const column = step % this.columns;
    const clamp = (value, count) => Math.max(0, Math.min(count - 1, value));
    const [y, x] = {
      ArrowUp: [row - 1, column],
      ArrowDown: [row + 1, column],
      ArrowLeft: [row, column - 1],
      ArrowRight: [row, column + 1],
      Home: [row, 0],
      End: [row, this.columns - 1],
    }[key];
    return clamp(y, this.rows) * this.columns + clamp(x, this.columns);
  }

  /** The name of a cell on the page, counted from 1. */
  name(step) {
    return `row ${Math.floor(step / this.columns) + 1}, column ${(step % this.columns) + 1}`;
  }
}

/** Earlier drawings to undo to, and undone ones to redo. */
export class History {
  #before = [];
  #after = [];

  get canUndo() {
    return this.#before.length > 0;
  }

  get canRedo() {
    return this.#after.length > 0;
  }

  /** Record a drawing that is about to be replaced, and the edit that replaces it. */
  note(drawing, what) {
    this.#before.push({ drawing, what });
    this.#after = [];
  }

  /** Return the previous drawing and the edit that is undone; `drawing` is the present one. */
  undo(drawing) {
    const { drawing: other, what } = this.#before.pop();
    this.#after.push({ drawing, what });
    return { drawing: other, what };
  }

  redo(drawing) {
    const { drawing: other, what } = this.#after.pop();
    this.#before.push({ drawing, what });
    return { drawing: other, what };
  }
}
