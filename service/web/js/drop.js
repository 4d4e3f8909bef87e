// Video files dropped anywhere on the page.

/** Call `onFiles` with dropped files; the body has class `dropping` while files are over it. */
export function acceptDrops(onFiles) {
  let depth = 0;
  const over = (entered) => {
    depth = Math.max(0, depth + (entered ? 1 : -1));
    document.body.classList.toggle("dropping", depth > 0);
  };
  addEventListener("dragenter", (event) => {
    if (hasFiles(event)) over(true);
  });
  addEventListener("dragleave", (event) => {
    if (hasFiles(event)) over(false);
  });
  addEventListener("dragover", (event) => {
    if (hasFiles(event)) event.preventDefault();
  });
  addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    depth = 0;
    document.body.classList.remove("dropping");
    onFiles([...event.dataTransfer.files]);
  });
}

function hasFiles(event) {
  return event.dataTransfer?.types.includes("Files") ?? false;
}
