// The part bank: parts to drag, or to pick up with a click or the keyboard.

import * as api from "./api.js";
import { draggable } from "./drag.js";
import { Options } from "./options.js";

const KEPT = 40; // pictures of all parts that are kept

/** A list of all parts in `element`; one of them may be picked up (in hand). */
export class Bank {
  /**
   * `drag(part, event)` returns the handlers of a drag; `onPick(part)` is called when a part is
   * clicked or chosen by keyboard, with null for the one in hand, and `onTake(part)` on a pick-up.
   */
  constructor(element, facts, { drag, onPick, onTake, status }) {
    this.parts = facts.parts;
    this.columns = facts.bank_columns;
    this.status = status;
    this.inHand = null;
    this.onTake = onTake;
    this.look = null; // as what all parts are to be shown
    this.worn = null; // the picture that they show
    this.pictures = new Map(); // of all parts, by look
    this.options = new Options(element, facts.parts, onPick);
    for (const [part, option] of this.options.items.entries()) {
      option.className = "part";
      option.ariaLabel = `part ${part}`;
      option.title = `part ${part}`;
      option.dataset.part = part;
      draggable(option, (event) => ({
        ...drag(part, event),
        click: () => onPick(this.inHand === part ? null : part),
      }));
    }
  }

  /** Show all parts as strokes of a look: layer, ink and contrast; nothing for plain parts. */
  async wear(look) {
    this.look = look;
    const url = await this.#picture(look);
    if (!url || this.look !== look || this.worn === url) return;
    this.worn = url;
    for (const [part, option] of this.options.items.entries()) this.#show(option, part, url);
  }

  /** Make an element show a part in a look. */
  dress = async (element, part, look) => {
    element.dataset.look = JSON.stringify([part, look]);
    const worn = element.dataset.look;
    const url = await this.#picture(look);
    if (url && element.dataset.look === worn) this.#show(element, part, url);
  };

  /** Show a square of the picture of all parts, which are in `columns` columns. */
  #show(element, part, url) {
    const { columns } = this;
    const rows = Math.ceil(this.parts / columns);
    const along = (place, count) => (count > 1 ? (100 * place) / (count - 1) : 0);
    const [row, column] = [Math.floor(part / columns), part % columns];
    element.style.backgroundImage = `url("${url}")`;
    element.style.backgroundSize = `${100 * columns}% ${100 * rows}%`;
    element.style.backgroundPosition = `${along(column, columns)}% ${along(row, rows)}%`;
  }

  /** The URL of a picture of all parts in a look; null if the server fails. */
  #picture(look) {
    const key = JSON.stringify(look);
    const url = this.pictures.get(key) ?? api.bank(look).catch((error) => this.status.fail(error) ?? null);
    this.pictures.delete(key);
    this.pictures.set(key, url); // the latest is last
    if (this.pictures.size > KEPT) {
      const [oldest, old] = this.pictures.entries().next().value;
      this.pictures.delete(oldest);
      old.then((unused) => URL.revokeObjectURL(unused));
    }
    return url;
  }

  /** Pick up a part, or with null put it down. */
  take(part) {
    this.inHand = part;
    this.options.select(part);
    this.onTake(part);
  }
}
