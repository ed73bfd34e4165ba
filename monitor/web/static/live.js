// Keeps the page current: fetches the live part and changes what differs.
"use strict";

(() => {
  const live = document.getElementById("live");
  const connection = document.getElementById("connection");
  const period = Number(live.dataset.refresh) * 1000;
  const deadline = 10000;
  let lastGood = new Date();

  // Touches only what differs, so that focus and a selection survive.
  const morph = (now, next) => {
    if (now.isEqualNode(next)) return;
    if (now.nodeName !== next.nodeName) {
      now.replaceWith(next);
    } else if (now.nodeType === Node.TEXT_NODE) {
      now.data = next.data;
    } else {
      for (const { name } of [...now.attributes]) {
        if (!next.hasAttribute(name)) now.removeAttribute(name);
      }
      for (const { name, value } of next.attributes) now.setAttribute(name, value);
      grow(now, next);
    }
  };

  const grow = (now, next) => {
    const old = [...now.childNodes];
    const wanted = [...next.childNodes];
    wanted.forEach((child, index) => {
      if (index < old.length) morph(old[index], child);
      else now.append(child);
    });
    for (const child of old.slice(wanted.length)) child.remove();
  };

  const show = (html) => {
    const next = document.createElement("template");
    next.innerHTML = html;
    grow(live, next.content);
    document.title = `${document.querySelector("#verdict strong").textContent} - slo-monitor`;
  };

  const tell = (stale) => {
    document.body.classList.toggle("stale", stale);
    connection.hidden = !stale;
    if (stale) {
      const since = lastGood.toISOString().slice(11, 19);
      connection.textContent = `No answer from the monitor. What you see is from ${since} UTC.`;
    }
  };

  const refresh = async () => {
    try {
      const answer = await fetch("/live", { cache: "no-store", signal: AbortSignal.timeout(deadline) });
      if (!answer.ok) throw new Error(answer.status);
      show(await answer.text());
      lastGood = new Date();
      tell(false);
    } catch {
      tell(true);
    }
    setTimeout(refresh, document.hidden ? period * 5 : period);
  };

  setTimeout(refresh, period);
})();
