// Every 3 s the page asks for itself and puts in what changed. Without scripts, reloading does the same.
// The focus stays where it is: sections that hold it are left alone until it moves on.
"use strict";
const refresh = async () => {
  try {
    const answer = await fetch("/", { cache: "no-store", redirect: "manual" });
    if (answer.type === "opaqueredirect") { location.assign("/login"); return; }
    if (!answer.ok) { throw new Error(answer.status); }
    const next = new DOMParser().parseFromString(await answer.text(), "text/html");
    const now = document.querySelector("main"), then = next.querySelector("main");
    if (now.innerHTML !== then.innerHTML && !now.contains(document.activeElement) && getSelection().isCollapsed) { now.replaceWith(then); }
    document.querySelector("header time").textContent = next.querySelector("header time").textContent;
    document.body.classList.remove("stale");
  } catch (error) {
    document.body.classList.add("stale");
  }
};
setInterval(() => { if (!document.hidden) { refresh(); } }, 3000);
