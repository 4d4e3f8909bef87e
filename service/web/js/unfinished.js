// Where unfinished uploads lie, also after the page was loaded again.

const PREFIX = "qasir-upload ";
// Longer than a service keeps what nobody continues; it is asked in any case.
const KEEP_DAYS = 7;

const places = new Map();

/** What makes a file the same one when it is dropped again. */
export function keyOf({ name, size, lastModified }) {
  return `${PREFIX}${size} ${lastModified} ${name}`;
}

/** The place of a file's upload, or null. */
export function recall(file) {
  const key = keyOf(file);
  const kept = stored((storage) => storage.getItem(key));
  return places.get(key) ?? (kept ? JSON.parse(kept).place : null);
}

/** Remember it. */
export function keep(file, place) {
  places.set(keyOf(file), place);
  stored((storage) => {
    dropOld(storage);
    storage.setItem(keyOf(file), JSON.stringify({ place, kept: Date.now() }));
  });
}

/** It is finished, or gone. */
export function forget(file) {
  places.delete(keyOf(file));
  stored((storage) => storage.removeItem(keyOf(file)));
}

function dropOld(storage) {
  const oldest = Date.now() - KEEP_DAYS * 86_400_000;
  for (const key of Object.keys(storage)) {
    if (key.startsWith(PREFIX) && JSON.parse(storage.getItem(key)).kept < oldest) storage.removeItem(key);
  }
}

function stored(use) {
  try {
    return use(localStorage);
  } catch (error) {
    // The reader forbids it, or it is full: then an upload goes on while the page is open.
    if (!(error instanceof DOMException)) throw error;
    return null;
  }
}
