// Requests to the server of this page. URLs are relative, so that they keep the token.

const LARGEST_BODY = 900_000; // bytes; the server accepts 1 MiB
const LARGEST_SIDE = 1024; // pixels per side, to which a large picture is shrunk before it is sent

const SILENT = "The studio does not respond. Restart it with: npdraw studio";

/** An error whose message is shown to the user. */
export class StudioError extends Error {}

async function answer(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new StudioError(SILENT);
  }
  const reply = await response.json().catch(() => null);
  if (!response.ok || reply === null) {
    const { message = `The studio responded with status ${response.status}`, hint = "" } = reply?.error ?? {};
    throw new StudioError([message, hint].filter(Boolean).map(sentence).join(" "));
  }
  return reply;
}

function sentence(text) {
  const whole = text[0].toUpperCase() + text.slice(1);
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
}

function ask(name, question) {
  return answer(`api/${name}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(question),
  });
}

export const model = () => answer("api/model");
export const render = (drawing) => ask("render", { drawing });
/** `label` is the class of a sample, or null for any. */
export const load = (word, label) => ask("load", { word, label });
export const compose = (drawing, other, cells) => ask("compose", { drawing, other, cells });
export const resample = (drawing, fixed, seed, label) =>
  ask("resample", { drawing, fixed, seed, label });

/** The URL of a picture of all parts, as strokes of a look; without ink there is only one. */
export async function bank(look) {
  if (!("layer" in look)) return "api/bank.png";
  let response;
  try {
    response = await fetch(`api/bank.png?${new URLSearchParams(look)}`);
  } catch {
    throw new StudioError(SILENT);
  }
  if (!response.ok) throw new StudioError(`The studio responded with status ${response.status}.`);
  return URL.createObjectURL(await response.blob()); // of the page, so it can be shown many times
}

/** Send a picture or a drawing; a picture that is too large is shrunk first. */
export async function upload(file) {
  return answer("api/upload", {
    method: "POST",
    headers: { "Content-Type": "application/octet-stream" },
    body: file.size > LARGEST_BODY ? await shrunk(file) : file,
  });
}

async function shrunk(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new StudioError(`${file.name} is too large to send, and not a picture that can be shrunk.`);
  }
  const factor = Math.min(1, LARGEST_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * factor));
  canvas.height = Math.max(1, Math.round(bitmap.height * factor));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
}
