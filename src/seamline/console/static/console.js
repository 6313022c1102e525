// Refreshes the page while something on it moves, and copies commands. Nothing needs it, but the
// links that Kubeflow's client prints: what follows their # never reaches a server.
"use strict";
(() => {
  const main = () => document.querySelector("main");

  async function fetchPage() {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok || answer.redirected) throw new Error(String(answer.status));
    return new DOMParser().parseFromString(await answer.text(), "text/html");
  }

  // What the reader has opened, scrolled or focused stays as it is.
  function swap(next) {
    const now = main();
    const open = new Set([...now.querySelectorAll("details[open][id]")].map((one) => one.id));
    const scrolled = [...now.querySelectorAll("[data-keep-scroll][id]")].map((one) => [
      one.id,
      one.scrollLeft,
      one.scrollTop,
      one.scrollTop + one.clientHeight >= one.scrollHeight - 4,
    ]);
    const focused = document.activeElement?.id;
    const link = document.activeElement?.closest("main a")?.getAttribute("href");
    now.dataset.refresh = next.dataset.refresh;
    now.replaceChildren(...next.childNodes);
    for (const one of now.querySelectorAll("details[id]")) one.open = one.open || open.has(one.id);
    for (const [id, left, top, atEnd] of scrolled) {
      const one = document.getElementById(id);
      if (one) one.scrollTo(left, atEnd ? one.scrollHeight : top);
    }
    addCopyButtons();
    groupCells();
    const links = link && !focused ? [...now.querySelectorAll("a")] : [];
    const again = focused
      ? document.getElementById(focused)
      : links.find((one) => one.getAttribute("href") === link);
    again?.focus({ preventScroll: true });
  }

  // Left alone while they say the same, so that they are not read aloud again and again.
  function swapAlarms(next) {
    const now = document.getElementById("alarms");
    if (next && now.textContent !== next.textContent) now.replaceChildren(...next.childNodes);
  }

  async function refresh() {
    const seconds = Number(main()?.dataset.refresh ?? 0);
    if (!seconds) return;
    // What somebody is typing is not taken from under their hands.
    const isTyping = document.activeElement?.matches("main input, main select");
    if (document.visibilityState === "visible" && !isTyping) {
      try {
        const page = await fetchPage();
        document.body.classList.remove("is-stale");
        const next = page.querySelector("main");
        if (next) swap(next);
        swapAlarms(page.getElementById("alarms"));
      } catch {
        document.body.classList.add("is-stale");
      }
    }
    setTimeout(refresh, seconds * 1000);
  }

  function addCopyButtons() {
    for (const box of document.querySelectorAll(".command:not(:has(button))")) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "copy";
      button.textContent = "Copy";
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(box.querySelector("code").textContent);
        button.textContent = "Copied";
        setTimeout(() => (button.textContent = "Copy"), 1500);
      });
      box.append(button);
    }
  }

  // Cells are one stop of the Tab key; the arrows move within.
  function moveInCells(event) {
    const cell = event.target.closest?.("[data-arrows] a");
    if (!cell || !/^Arrow/.test(event.key)) return;
    const cells = [...cell.closest("[data-arrows]").querySelectorAll("a")];
    const place = cells.indexOf(cell);
    const next = {
      ArrowRight: () => cells[place + 1],
      ArrowLeft: () => cells[place - 1],
      ArrowDown: () => cells.slice(place).find((one) => isBeyond(cell, one)),
      ArrowUp: () => cells.slice(0, place).findLast((one) => isBeyond(one, cell)),
    }[event.key]();
    event.preventDefault();
    if (!next) return;
    cell.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }

  // In a later row, and not further left.
  const isBeyond = (one, other) =>
    other.offsetTop > one.offsetTop && other.offsetLeft >= one.offsetLeft;

  function groupCells() {
    for (const group of document.querySelectorAll("[data-arrows]")) {
      group.querySelectorAll("a").forEach((cell, place) => (cell.tabIndex = place ? -1 : 0));
    }
  }

  const KUBEFLOW = [
    [/^#\/runs\/details\/([\w-]+)/, "/runs/"],
    [/^#\/experiments\/details\/([\w-]+)/, "/experiments/"],
    [/^#\/pipelines\/details\/([\w-]+)/, "/pipelines/"],
    [/^#\/recurringrun\/details\/([\w-]+)/, "/schedules/"],
  ];

  // On the start page it leads on at once; where one has to sign in first, after that.
  function followKubeflowLink() {
    for (const [link, path] of KUBEFLOW) {
      const found = link.exec(location.hash);
      const next = document.querySelector('input[name="next"]');
      if (found && next) next.value = path + found[1];
      else if (found && location.pathname === "/") location.replace(path + found[1]);
    }
  }

  followKubeflowLink();
  addEventListener("hashchange", followKubeflowLink);
  addEventListener("keydown", moveInCells);
  addCopyButtons();
  groupCells();
  document.querySelector(".drawing .node.chosen")?.scrollIntoView({ block: "nearest", inline: "center" });
  const log = document.getElementById("log");
  if (log && location.hash !== "#top") log.scrollTop = log.scrollHeight;
  setTimeout(refresh, Number(main()?.dataset.refresh ?? 0) * 1000);
})();
