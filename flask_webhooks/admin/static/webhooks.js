// Niceties only: every page is complete without this file. The host's part of the page is none of its business.

const root = document.querySelector(".wh");

const REFRESH_FIRST = 1500;
const REFRESH_THEN = 5000;

/** The element with an id, of ours. */
const ours = (id, inside = root) => inside.querySelector(`#${CSS.escape(id)}`);

/** Copy buttons; without a clipboard (plain HTTP) the text is selected instead. */
function offerCopying() {
  for (const button of root.querySelectorAll("[data-wh-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const source = ours(button.dataset.whCopy);
      try {
        await navigator.clipboard.writeText(source.textContent.trim());
      } catch {
        getSelection().selectAllChildren(source);
        return;
      }
      const label = document.createElement("span");
      label.setAttribute("role", "status");
      label.textContent = button.dataset.whDone;
      button.querySelector("[role=status]")?.remove();
      button.after(label);
      setTimeout(() => label.remove(), 4000);
    });
  }
}

/** A second click on a button that sends a form does nothing. */
function sendOnce() {
  let sent = new WeakSet();
  root.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post") return;
    if (sent.has(form)) event.preventDefault();
    sent.add(form);
  });
  addEventListener("pageshow", () => { sent = new WeakSet(); });
}

/** Hide what does not match; what is checked stays. */
function offerFilter(inside) {
  for (const box of inside.querySelectorAll("[data-wh-filter]")) {
    const list = ours(box.dataset.whFilter, inside);
    box.hidden = false;
    box.querySelector("input").addEventListener("input", (event) => {
      const wanted = event.target.value.trim().toLowerCase();
      for (const group of list.querySelectorAll("fieldset, [data-wh-group]")) {
        let shown = 0;
        for (const item of group.querySelectorAll(".wh-check, [data-wh-item]")) {
          const matches = item.textContent.toLowerCase().includes(wanted);
          item.hidden = !matches && !item.querySelector("input")?.checked;
          shown += !item.hidden;
        }
        group.hidden = !shown;
      }
    });
  }
}

/** Choosing an event type loads its example, unless the user has edited the current one. */
function offerSamples() {
  const select = root.querySelector("[data-wh-loads]");
  if (!select) return;
  const area = ours(select.dataset.whLoads);
  let loaded = area.value;
  select.addEventListener("change", async () => {
    if (area.value !== loaded) return;
    const wanted = select.value;
    const url = new URL(select.form.action);
    url.searchParams.set("event_type", wanted);
    try {
      const page = await request(url);
      const fresh = ours(area.id, page.root).value;
      // Answers may come in another order than they were asked for.
      if (select.value === wanted && area.value === loaded) area.value = loaded = fresh;
    } catch {
      // The button beside it does the same.
    }
  });
}

/** What leads back from the page closes the dialog instead. */
function closeWith(link, dialog) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = link.className;
  button.textContent = link.textContent;
  button.setAttribute("command", "close");
  button.setAttribute("commandfor", dialog.id);
  if (!("commandForElement" in button)) button.addEventListener("click", () => dialog.close());
  link.replaceWith(button);
}

/** A page that asks before it does something opens as a dialog; its link leads to the page all the same. */
function offerDialogs() {
  root.addEventListener("click", async (event) => {
    const link = event.target.closest("a[data-wh-dialog]");
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    try {
      const page = (await request(link.href)).root;
      const form = document.adoptNode(page.querySelector("[data-wh-asks]") ?? page.querySelector("form[method=post]"));
      const title = document.createElement("h2");
      title.className = "wh-heading";
      title.id = "wh-dialog-title";
      title.textContent = page.querySelector("h1").textContent;
      const dialog = document.createElement("dialog");
      dialog.className = "wh-dialog";
      dialog.setAttribute("aria-labelledby", title.id);
      dialog.id = "wh-dialog";
      form.classList.remove("wh-card");
      tellTimes(form);
      closeWith(form.querySelector("[data-wh-cancel]"), dialog);
      dialog.addEventListener("close", () => dialog.remove());
      dialog.append(title, form);
      root.append(dialog);
      offerFilter(dialog);
      dialog.showModal();
    } catch {
      location.assign(link.href);
    }
  });
}

const UNITS = [["second", 60], ["minute", 60], ["hour", 24], ["day", 30], ["month", 12], ["year", Infinity]];

/** How long ago, or in how long: the largest unit of which there is one. */
function ago(moment, relative) {
  let amount = (moment - Date.now()) / 1000;
  for (const [unit, size] of UNITS) {
    const whole = Math.round(amount);
    if (Math.abs(whole) < size) return relative.format(whole, unit);
    amount /= size;
  }
}

/** Times as long ago, with the exact one on hover, in the zone of who looks; without script they are in UTC. */
function tellTimes(inside) {
  const language = root.closest("[lang]")?.lang || [];
  let relative, exact;
  try {
    relative = new Intl.RelativeTimeFormat(language, { numeric: "auto" });
    exact = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "long" });
  } catch {
    return; // no language tag that the browser knows
  }
  for (const time of inside.querySelectorAll("time")) {
    const moment = Date.parse(time.dateTime);
    const text = exact.format(moment);
    const kind = time.dataset.whTime;
    if (kind !== "exact") time.title = text;
    if (kind) time.textContent = kind === "ago" ? ago(moment, relative) : text;
  }
}

/** Our part of a page, or null for one that is still the same. */
function request(url, headers = {}) {
  // XMLHttpRequest parses HTML without running it, also under Trusted Types.
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("GET", url);
    for (const name in headers) request.setRequestHeader(name, headers[name]);
    request.responseType = "document";
    request.timeout = 10000;
    request.onload = () => {
      // From the empty body of a 304, Chromium would make a page about a parser error, with inline styles that the
      // policy forbids.
      const answered = request.status === 200 ? request.response : null;
      const found = answered?.querySelector(".wh") ?? null;
      if (request.status !== 304 && !found) return reject(request.status);
      resolve({ root: found, etag: request.getResponseHeader("ETag") });
    };
    request.onerror = request.ontimeout = reject;
    request.send();
  });
}

let etag = "";

/** What can still change on this page, as it is now, or null if it is still the same. */
async function fetchLive() {
  const headers = { "Flask-Webhooks-Fragment": "live" };
  if (etag) headers["If-None-Match"] = etag;
  const page = await request(location.href, headers);
  etag = page.etag ?? etag;
  // Before it is compared with what is shown.
  if (page.root) tellTimes(page.root);
  return page.root;
}

/** Put fresh content into one part; open details and the focus stay as they are. */
function replacePart(old, fresh) {
  // Not the markup: its form tokens are new each time.
  if (!fresh || old.textContent === fresh.textContent) return;
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  // The focused element must not vanish while the user is typing.
  if (focused && !(focused.id && ours(focused.id, fresh))) return;
  for (const details of fresh.querySelectorAll("details[id]")) {
    const known = ours(details.id);
    if (known) details.open = known.open;
  }
  old.replaceChildren(...fresh.childNodes);
  if (focused) ours(focused.id).focus({ preventScroll: true });
}

/** Refresh what can still change, while it can and the page is visible. */
function keepFresh() {
  let timer;
  const look = async () => {
    let changes = true;
    try {
      const page = await fetchLive();
      if (page) {
        changes = page.querySelector("[data-wh-live]") !== null;
        for (const part of root.querySelectorAll("[data-wh-part]")) {
          replacePart(part, ours(part.id, page));
        }
      }
    } catch (status) {
      // The server may be restarting; the next round tells. What is gone or no longer allowed stays so.
      changes = !(status >= 400 && status < 500);
    }
    if (changes) wait(REFRESH_THEN);
    else document.removeEventListener("visibilitychange", notice);
  };
  const wait = (delay) => {
    clearTimeout(timer);
    if (!document.hidden) timer = setTimeout(look, delay);
  };
  // A hidden tab sends no requests; one that is shown again sends one soon.
  const notice = () => {
    if (document.hidden) clearTimeout(timer);
    else wait(REFRESH_FIRST);
  };
  document.addEventListener("visibilitychange", notice);
  wait(REFRESH_FIRST);
}

tellTimes(root);
setInterval(tellTimes, 30000, root);
offerCopying();
sendOnce();
offerFilter(root);
offerSamples();
offerDialogs();
if (root.querySelector("[data-wh-live]")) keepFresh();
root.querySelector("[data-wh-focus]")?.focus();
// Reloading the page with the secret must not send its form again.
const target = root.querySelector("[data-wh-replace]")?.dataset.whReplace;
if (target) history.replaceState(null, "", target);
