// What changes on this page comes from /events, rendered by the server. Without
// this script the page loads itself again.
"use strict";
(() => {
  const address = document.body.dataset.events;
  if (!address || !window.EventSource) return;
  const link = document.getElementById("link");
  const log = document.getElementById("log");
  const say = (text) => { link.textContent = text; link.hidden = text === ""; };

  // A part is replaced whole; what had the focus in it gets it back.
  const replace = ({ id, html }) => {
    const part = document.getElementById(id);
    if (!part || part.innerHTML === html) return;
    const focused = part.contains(document.activeElement) ? document.activeElement : null;
    const same = focused && [...part.querySelectorAll(focused.tagName)].indexOf(focused);
    const tail = part.querySelector(".tail");
    const held = tail && tail.scrollTop + tail.clientHeight < tail.scrollHeight - 4 ? tail.scrollTop : -1;
    part.innerHTML = html;
    if (focused) part.querySelectorAll(focused.tagName)[same]?.focus({ preventScroll: true });
    for (const t of part.querySelectorAll(".tail")) t.scrollTop = held < 0 ? t.scrollHeight : held;
  };

  let group = log && log.querySelector("details.last");
  const atEnd = () => {
    const own = getComputedStyle(log).overflowY !== "visible";
    const of = own ? log : document.documentElement;
    return of.scrollTop + of.clientHeight > of.scrollHeight - 160;
  };
  const toEnd = () => {
    if (getComputedStyle(log).overflowY !== "visible") log.scrollTop = log.scrollHeight;
    else window.scrollTo(0, document.documentElement.scrollHeight);
  };
  // Of too many lines the first go, and the summary of a group after its lines.
  const trim = () => {
    for (let n = log.querySelectorAll(".l, p").length - Number(log.dataset.most); n > 0; n--) {
      let first = log.firstElementChild;
      if (first.tagName === "DETAILS" && first.childElementCount > 1) first = first.children[1];
      if (first.nextSibling?.nodeType === Node.TEXT_NODE) first.nextSibling.remove(); // the end of the line
      first.remove();
    }
  };
  const append = ({ skipped, total, do: operations }) => {
    const follow = atEnd();
    for (const number of document.querySelectorAll("[data-last]")) number.textContent = total;
    if (skipped > 0) {
      group = null;
      const gap = document.createElement("p");
      gap.className = "note";
      gap.textContent = skipped + " lines went by";
      log.append(gap);
    }
    for (const o of operations) {
      const html = o.slice(1);
      if (o[0] === "g") {
        group = document.createElement("details");
        group.open = true;
        group.innerHTML = html;
        log.append(group);
      } else if (o[0] === "e") {
        group = null;
      } else {
        (group || log).insertAdjacentHTML("beforeend", html);
      }
    }
    trim();
    if (follow) toEnd();
  };

  if (log && log.dataset.follow) log.scrollTop = log.scrollHeight;
  for (const t of document.querySelectorAll(".tail")) t.scrollTop = t.scrollHeight;
  const events = new EventSource(address);
  events.onopen = () => say("");
  events.onerror = () => say(events.readyState === EventSource.CLOSED ? "Not live: load the page again" : "Connection lost, trying again");
  events.addEventListener("part", (e) => replace(JSON.parse(e.data)));
  events.addEventListener("log", (e) => { if (log) append(JSON.parse(e.data)); });
  events.addEventListener("step", () => {
    if (log && !log.dataset.follow) return; // somebody reads the log of one step
    events.close();
    location.reload();
  });
  events.addEventListener("over", () => events.close());
  window.addEventListener("pagehide", () => events.close());
})();
