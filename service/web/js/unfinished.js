// The URLs of unfinished uploads, kept across reloads of the page.

const PREFIX = "qasir-upload ";
// Longer than the service keeps an idle upload; if it is gone, the service says so.
const KEEP_DAYS = 7;

const urls = new Map();

/** A key by which a file is recognised when it is dropped again. */
export function keyOf({ name, size, lastModified }) {
  return `${PREFIX}${size} ${lastModified} ${name}`;
}

/** The URL of a file's unfinished upload, or null. */
export function storedUrl(file) {
  const key = keyOf(file);
  const entry = withStorage((storage) => storage.getItem(key));
  return urls.get(key) ?? (entry ? JSON.parse(entry).place : null);
}

/** Store the URL of a file's upload. */
export function store(file, place) {
  urls.set(keyOf(file), place);
  withStorage((storage) => {
    dropOld(storage);
    storage.setItem(keyOf(file), JSON.stringify({ place, kept: Date.now() }));
  });
}

/** Forget an upload that is finished or gone. */
export function forget(file) {
  urls.delete(keyOf(file));
  withStorage((storage) => storage.removeItem(keyOf(file)));
}

function dropOld(storage) {
  const oldest = Date.now() - KEEP_DAYS * 86_400_000;
  for (const key of Object.keys(storage)) {
    if (key.startsWith(PREFIX) && JSON.parse(storage.getItem(key)).kept < oldest) storage.removeItem(key);
  }
}

function withStorage(use) {
  try {
    return use(localStorage);
  } catch (error) {
    // Storage is blocked or full: uploads then resume only while the page is open.
    if (!(error instanceof DOMException)) throw error;
    return null;
  }
}
