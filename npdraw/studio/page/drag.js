// Dragging with mouse, pen or finger, based on pointer events.

const STILL = 4; // pixels that the pointer may move during a click

/**
 * Call `begin(event)` when a pointer goes down on `element`. The handlers that it returns, if any,
 * are called for what follows: `start`, `move` and `drop` of a drag, `click` without one, `cancel`.
 */
export function draggable(element, begin) {
  element.addEventListener("pointerdown", (down) => {
    if (down.button !== 0 || !down.isPrimary) return;
    const handlers = begin(down);
    if (!handlers) return;
    let dragging = false;
    const stop = new AbortController();
    const { signal } = stop;

    const end = (name, event) => {
      stop.abort();
      if (element.hasPointerCapture(down.pointerId)) element.releasePointerCapture(down.pointerId);
      handlers[name]?.(event);
    };
    const move = (event) => {
      if (event.pointerId !== down.pointerId) return;
      const distance = Math.hypot(event.clientX - down.clientX, event.clientY - down.clientY);
      if (!dragging && distance < STILL) return;
      if (!dragging) {
        dragging = true;
        element.setPointerCapture(down.pointerId);
        handlers.start?.(event);
      }
      handlers.move?.(event);
    };
    const up = (event) => {
      if (event.pointerId === down.pointerId) end(dragging ? "drop" : "click", event);
    };
    const cancel = (event) => {
      if (event.pointerId === down.pointerId) end("cancel", event);
    };
    const escape = (event) => {
      if (event.key === "Escape" && dragging) end("cancel", event);
    };
    window.addEventListener("pointermove", move, { signal });
    window.addEventListener("pointerup", up, { signal });
    window.addEventListener("pointercancel", cancel, { signal });
    window.addEventListener("keydown", escape, { signal, capture: true });
  });
}

/** A part that follows the pointer. */
export class Ghost {
  constructor() {
    this.element = document.createElement("div");
    this.element.className = "ghost part";
    this.element.hidden = true;
    document.body.append(this.element);
  }

  show(dress, part, look, side) {
    dress(this.element, part, look);
    this.element.style.width = `${side}px`;
    this.element.style.height = `${side}px`;
    this.element.hidden = false;
    this.side = side;
  }

  at(event, leaving) {
    const x = event.clientX - this.side / 2;
    const y = event.clientY - this.side / 2;
    this.element.style.transform = `translate(${x}px, ${y}px)`;
    this.element.classList.toggle("leaving", leaving);
  }

  hide() {
    this.element.hidden = true;
  }
}
