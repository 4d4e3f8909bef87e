// The page: tabs, player and uploads, all driven by the URL.

import { confirmWith } from "./confirm.js";
import { acceptDrops } from "./drop.js";
import { tolerate } from "./http.js";
import { libraryTab } from "./library.js";
import { VIEWS, follow, go, notify, onPlace } from "./place.js";
import { player } from "./player.js";
import { searchTab } from "./search.js";
import { statusTab } from "./status.js";
import { studyTab } from "./study.js";
import { uploads } from "./uploads.js";

const byId = (id) => document.getElementById(id);
const NAMES = { search: "Search", library: "Library", study: "Study", status: "Status" };

const chooser = byId("chooser");
const addVideos = () => chooser.click();
const changed = () => {
  library.refresh();
  search.refresh();
};
const incoming = uploads(byId("uploads"), { onChange: changed });
const confirm = confirmWith(byId("confirm"));
const library = libraryTab(byId("library"), { addVideos, confirm, onChange: changed });
const search = searchTab(byId("search"), { library, addVideos });
const tabs = { search, library, study: studyTab(byId("study")), status: statusTab(byId("status")) };
const dialog = player(byId("player"));

byId("add").addEventListener("click", addVideos);
chooser.addEventListener("change", () => {
  incoming.add([...chooser.files]);
  // Otherwise choosing the same file again is no change.
  chooser.value = "";
});
acceptDrops((files) => incoming.add(files));
for (const link of document.querySelectorAll("[data-tab]")) {
  link.addEventListener("click", (event) => follow(event, { view: link.dataset.tab }));
}
addEventListener("keydown", (event) => {
  const typing = event.target.matches?.("input, select, textarea");
  if (event.key !== "/" || typing || document.querySelector("dialog[open]")) return;
  event.preventDefault();
  go({ view: "search" });
  search.focus();
});

onPlace((place) => {
  for (const view of VIEWS) {
    const current = view === place.view;
    byId(view).hidden = !current;
    const link = document.querySelector(`nav [data-tab=${view}]`);
    if (current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    if (current) tabs[view].show(place);
    else tabs[view].hide?.();
  }
  dialog.show(place);
  const subject = place.view === "search" && place.query ? place.query : NAMES[place.view];
  document.title = `${subject} · qasir`;
});
notify();
incoming.resume().catch(tolerate);
