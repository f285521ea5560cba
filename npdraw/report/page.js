"use strict";
// Steps through drawings: the page holds the strokes of each, and its frames in two mosaics.
(() => {
  const data = document.getElementById("drawings");
  if (!data) return;
  const drawings = JSON.parse(data.textContent);
  const [painted, decoded, mark, position, time, stepper] = [
    "painted", "decoded", "mark", "position", "time", "stepper",
  ].map((name) => document.getElementById(name));
  const faces = [...document.querySelectorAll(".faces button")];
  const play = document.querySelector('[data-go="play"]');
  const PACE = 350; // milliseconds from one stroke to the next
  const SHARP = 8; // canvas pixels per pixel of the small picture
  let shown = null, timer = 0;

  const loaded = (mosaic) => new Promise((resolve, reject) => {
    const picture = new Image();
    picture.onload = () => resolve(picture);
    picture.onerror = reject;
    picture.src = mosaic.src;
  });

  function draw(canvas, mosaic, picture, count) {
    const { columns, width, height } = mosaic, tile = mosaic.at[count];
    canvas.width = width * SHARP;
    canvas.height = height * SHARP;
    const brush = canvas.getContext("2d");
    brush.imageSmoothingEnabled = false;
    brush.drawImage(picture, (tile % columns) * width, Math.floor(tile / columns) * height,
      width, height, 0, 0, canvas.width, canvas.height);
  }

  // A part may extend beyond the edge of the canvas.
  const within = (value, most) => Math.min(Math.max(value, 0), most);

  // Side of the part of a stroke. The steps of a layer follow those of the layer before it.
  function sideOf({ step }, { canvas: [height, width], part_size: sides }) {
    if (!Array.isArray(sides)) return sides;
    let end = 0;
    return sides.find((side) => step < (end += Math.ceil(height / side) * Math.ceil(width / side)));
  }

  function outline(stroke, drawing) {
    mark.hidden = !stroke;
    if (!stroke) return;
    const { canvas: [height, width] } = drawing, side = sideOf(stroke, drawing);
    const top = within(stroke.row, height), bottom = within(stroke.row + side, height);
    const left = within(stroke.column, width), right = within(stroke.column + side, width);
    Object.assign(mark.style, {
      top: `${100 * top / height}%`, height: `${100 * (bottom - top) / height}%`,
      left: `${100 * left / width}%`, width: `${100 * (right - left) / width}%`,
    });
  }

  const named = ({ part, ink, contrast }) => ink === undefined
    ? `part ${part}` : `part ${part} in ink ${ink}, contrast ${contrast},`;

  function show(count) {
    const { entry, pictures } = shown, { strokes } = entry.drawing;
    count = within(count, strokes.length);
    time.value = count;
    draw(painted, entry.canvas, pictures[0], count);
    draw(decoded, entry.image, pictures[1], count);
    const stroke = strokes[count - 1];
    outline(stroke, entry.drawing);
    const where = stroke
      ? `${named(stroke)} at row ${stroke.row}, column ${stroke.column}` : "the empty canvas";
    const text = `Stroke ${count} of ${strokes.length}: ${where}`;
    position.textContent = text;
    time.setAttribute("aria-valuetext", text);
    painted.setAttribute("aria-label", `Canvas of ${entry.label} after ${count} strokes`);
    decoded.setAttribute("aria-label", `Image decoded after ${count} strokes`);
    stepper.dataset.count = count;
  }

  const now = () => Number(time.value);
  const end = () => shown.entry.drawing.strokes.length;

  function pause() {
    clearInterval(timer);
    timer = 0;
    play.textContent = "Play";
  }

  function toggle() {
    if (timer) return pause();
    if (now() === end()) show(0);
    play.textContent = "Pause";
    timer = setInterval(() => {
      show(now() + 1);
      if (now() === end()) pause();
    }, PACE);
  }

  const moves = {
    first: () => 0, back: () => now() - 1, on: () => now() + 1, last: () => end(),
  };

  function go(name) {
    if (!shown) return;
    if (name === "play") return toggle();
    pause();
    show(moves[name]());
  }

  async function choose(number) {
    pause();
    const entry = drawings[number];
    faces.forEach((face, n) => face.setAttribute("aria-pressed", String(n === number)));
    const pictures = await Promise.all([loaded(entry.canvas), loaded(entry.image)]);
    shown = { entry, pictures };
    time.max = entry.drawing.strokes.length;
    show(entry.drawing.strokes.length);
    stepper.dataset.drawing = number;
  }

  const keys = {
    ArrowLeft: "back", ArrowDown: "back", ArrowRight: "on", ArrowUp: "on",
    Home: "first", End: "last", " ": "play",
  };
  stepper.addEventListener("keydown", (event) => {
    const name = keys[event.key];
    if (!name || event.ctrlKey || event.metaKey || event.altKey) return;
    if (name === "play" && event.target.tagName === "BUTTON") return; // space presses the button
    event.preventDefault();
    go(name);
  });
  document.querySelectorAll("[data-go]").forEach((button) => {
    button.addEventListener("click", () => go(button.dataset.go));
  });
  time.addEventListener("input", () => {
    pause();
    show(now());
  });
  faces.forEach((face, number) => face.addEventListener("click", () => choose(number)));
  choose(0);
})();
