// The part bank: parts to drag, or to pick up with a click or the keyboard.

import { draggable } from "./drag.js";

/** A list of all parts in `element`; one of them may be picked up (in hand). */
export class Bank {
  /** `drag(part, event)` returns the handlers of a drag; `onTake(part)` is called on a pick-up. */
  constructor(element, facts, { drag, onTake }) {
    this.element = element;
    this.parts = facts.parts;
    this.inHand = null;
    this.onTake = onTake;
    this.options = [];
    for (let part = 0; part < facts.parts; part += 1) this.#add(part, drag);
    this.options[0].tabIndex = 0;
    element.addEventListener("keydown", (event) => this.#key(event));
  }

  #add(part, drag) {
    const option = document.createElement("div");
    option.className = "part";
    option.role = "option";
    option.tabIndex = -1;
    option.ariaLabel = `part ${part}`;
    option.ariaSelected = "false";
    option.title = `part ${part}`;
    option.dataset.part = part;
    this.dress(option, part);
    draggable(option, (event) => ({
      ...drag(part, event),
      click: () => this.take(this.inHand === part ? null : part),
    }));
    this.options.push(option);
    this.element.append(option);
  }

  /** Make an element show a part: its square in the picture of all parts. */
  dress = (element, part) => {
    element.style.backgroundImage = 'url("api/bank.png")';
    element.style.backgroundSize = `100% ${100 * this.parts}%`;
    element.style.backgroundPosition = `0 ${this.parts > 1 ? (100 * part) / (this.parts - 1) : 0}%`;
  };

  /** Pick up a part, or with null put it down. */
  take(part) {
    if (this.inHand !== null) this.options[this.inHand].ariaSelected = "false";
    this.inHand = part;
    if (part !== null) {
      this.options[part].ariaSelected = "true";
      this.#focusable(part);
    }
    this.onTake(part);
  }

  #focusable(part) {
    for (const option of this.options) option.tabIndex = -1;
    this.options[part].tabIndex = 0;
  }

  #key(event) {
    const part = Number(event.target.dataset.part);
    const wide = this.#columns();
    const steps = {
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowUp: -wide,
      ArrowDown: wide,
      Home: -part,
      End: this.parts - 1 - part,
    };
    if (event.key in steps) {
      event.preventDefault();
      const to = part + steps[event.key];
      if (to < 0 || to >= this.parts) return;
      this.#focusable(to);
      this.options[to].focus();
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.take(part);
    }
  }

  /** Parts per row of the list; on a narrow page, the list is a strip of a few long rows. */
  #columns() {
    const [first] = this.options;
    const below = this.options.findIndex(
      (option) => option.offsetLeft === first.offsetLeft && option.offsetTop > first.offsetTop,
    );
    return below > 0 ? below : this.parts;
  }
}
