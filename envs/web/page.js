// What a page is asked for. Playwright runs this file in every page before the page's own scripts; `envs.web`
// calls the functions of `window.envisions`, several of them in one round trip.
// A page keeps its state in globals; see core/core.js. Nothing here changes what it shows, dialogs aside, or how
// it judges.
(() => {
  "use strict";

  // MiniWoB++'s own furniture beside the task, and the utterance, which is told apart.
  const FURNITURE = new Set(["reward-display", "sync-task-cover", "click-canvas", "attention-canvas", "query"]);
  const NO_CONTENT = new Set(["SCRIPT", "STYLE", "LINK", "META", "TEMPLATE", "NOSCRIPT", "BR", "HR"]);
  // Elements that only hold others: without an attribute worth showing and without text, their children stand
  // in their place.
  const WRAPPERS = new Set(["DIV", "SPAN", "P", "TBODY", "THEAD", "FORM", "CENTER", "B", "I", "STRONG", "EM", "G"]);
  // Shown in this order, so that the order in which a page set them does not matter.
  const ATTRIBUTES = [
    "id", "name", "class", "type", "value", "placeholder", "title", "alt", "for", "href", "tabindex",
    "fill", "cx", "cy", "r", "x", "y", "width", "height", "points", "font-size", "min", "max", "step",
  ];
  // jQuery UI's names for how a thing looks, not for what it is. An XPath should say contains(@class, "…").
  const LOOKS = /^ui-(corner|widget|state|helper|icon|button|resizable|draggable|sortable|front|menu-icon)/;
  const LONGEST_ATTRIBUTE = 60; // longer ones are styling or data for scripts
  const LONGEST_TEXT = 1000;
  // A page's limit in milliseconds. It must stay below 2^31, or the timer fires at once.
  const NO_LIMIT = 1e9;

  const MOST_DIALOGS = 20; // told of between two looks
  let found = []; // by the last locate()
  let dialogs = []; // what the page said in dialogs since the last state()

  // Dialogs are dismissed before they open: while one is open Chromium loses what is typed.
  function dismiss(message = "") {
    if (dialogs.length < MOST_DIALOGS) dialogs.push(String(message).slice(0, 200));
  }
  window.alert = dismiss;
  window.confirm = (message) => Boolean(dismiss(message));
  window.prompt = (message) => dismiss(message) || null;

  const isReady = () => typeof core === "object" && core.cover_div !== null && typeof genProblem === "function";
  const tidy = (text) => text.replace(/\s+/g, " ").trim();

  function reset(seed, mode, path) {
    if (location.pathname !== path) throw new Error("the page was left by the episode before");
    if (!isReady()) throw new Error("this page is no MiniWoB++ task");
    core.EPISODE_MAX_TIME = NO_LIMIT;
    window.onbeforeunload = null;
    if (window.jQuery) {
      jQuery.fx.off = true;
      forgetWidgets();
    }
    if (core.EP_TIMER !== null) core.endEpisode(0, false, "reset");
    forgetFocus();
    for (const element of document.querySelectorAll("#wrap, #wrap *")) {
      element.scrollTop = element.scrollLeft = 0;
    }
    found = [];
    dialogs = [];
    core.setDataMode(mode);
    Math.seedrandom(seed);
    core.startEpisodeReal();
    window.scrollTo(0, 0);
  }

  // What jQuery UI keeps of a calendar that was open and of a spinner that was turned.
  function forgetWidgets() {
    if (jQuery.datepicker) {
      if (jQuery.datepicker._curInst) jQuery.datepicker._hideDatepicker();
      jQuery.datepicker.dpDiv.empty().removeAttr("style");
    }
    jQuery(".ui-spinner-input").removeAttr("aria-valuenow");
  }

  // No element has the focus afterwards, and Tab starts at the top of the page again.
  function forgetFocus() {
    const top = document.createElement("span");
    top.tabIndex = -1;
    document.body.prepend(top);
    top.focus();
    top.blur();
    top.remove();
  }

  const state = () => {
    if (!isReady()) return null;
    const focus = document.activeElement;
    return {
      dialogs: dialogs.splice(0),
      path: location.pathname,
      done: WOB_DONE_GLOBAL,
      reward: Number.isFinite(WOB_RAW_REWARD_GLOBAL) ? WOB_RAW_REWARD_GLOBAL : 0, // JSON has no others
      focused: focus !== null && focus !== document.body,
    };
  };

  // --- Observation ---------------------------------------------------------------------------------

  function observe() {
    const utterance = core.getUtterance();
    return {
      utterance: tidy(typeof utterance === "string" ? utterance : utterance.utterance),
      lines: roots().flatMap((root) => describe(root, 0)),
      html: roots().map(plainHtml).join("\n"),
    };
  }

  // The task's own area, and what a page put beside it: dialogs, calendars, menus.
  const roots = () => [...document.body.children].filter((root) => !FURNITURE.has(root.id));

  function isShown(element) {
    const style = getComputedStyle(element);
    return style.display !== "none" && style.opacity !== "0";
  }

  function describe(element, depth) {
    const tag = element.tagName.toUpperCase();
    if (FURNITURE.has(element.id) || NO_CONTENT.has(tag) || !isShown(element)) return [];
    const isHidden = getComputedStyle(element).visibility !== "visible" && tag !== "OPTION";
    if (isHidden || element.id === "wrap") {
      return [...element.children].flatMap((child) => describe(child, depth));
    }
    const name = element.tagName.toLowerCase();
    const opening = [name, ...attributes(element)].join(" ");
    const text = ownText(element);
    const isWrapper = WRAPPERS.has(tag) && opening === name;
    const inner = isWrapper && !text ? depth : depth + 1;
    const children = [...element.children].flatMap((child) => describe(child, inner));
    if (isWrapper && !text) return children;
    const closing = text && children.length === 0 ? `</${name}>` : "";
    return [`${" ".repeat(depth)}<${opening}>${text}${closing}`, ...children];
  }

  // The text of the element itself, without that of its children, which have lines of their own.
  function ownText(element) {
    if (element.tagName === "TEXTAREA") return element.value.slice(0, LONGEST_TEXT);
    const own = [...element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE);
    return tidy(own.map((node) => node.data).join(" ")).slice(0, LONGEST_TEXT);
  }

  function attributes(element) {
    const data = [...element.attributes].map((attribute) => attribute.name).filter(isData).sort();
    const names = [...ATTRIBUTES, ...data];
    const shown = names.flatMap((name) => {
      const value = read(element, name);
      const isUseful = value && value.length <= LONGEST_ATTRIBUTE && !isDefault(element, name, value);
      return isUseful ? [`${name}="${value}"`] : [];
    });
    const flags = ["checked", "selected", "disabled", "multiple"].filter((flag) => element[flag] === true);
    if (element === document.activeElement && element !== document.body) flags.push("focused");
    return [...shown, ...flags];
  }

  function read(element, name) {
    if (name === "value" && /^(INPUT|OPTION)$/.test(element.tagName)) return element.value;
    const value = element.getAttribute(name);
    if (name !== "class" || value === null) return value;
    return steadyClass(value).split(/\s+/).filter((word) => !LOOKS.test(word)).join(" ");
  }

  // jQuery UI adds its names in an order that depends on what a page showed before.
  const steadyClass = (names) => (/\bui-/.test(names) ? names.split(/\s+/).sort().join(" ") : names);

  const isData = (name) => name.startsWith("data-") && !/^data-(wob_|tampered|recording)/.test(name);

  // What says nothing: an option's value that is its text, a button's type, a box's "on".
  function isDefault(element, name, value) {
    if (name === "value" && element.tagName === "OPTION") return value === tidy(element.textContent);
    if (name === "value" && (element.tagName === "TEXTAREA" || element.tagName === "SELECT")) return true;
    if (name === "value") return value === "on" && /^(checkbox|radio)$/.test(element.type);
    if (name === "type") return element.tagName === "BUTTON";
    if (name === "href") return value === "#";
    return (name === "width" || name === "height") && !(element instanceof SVGElement);
  }

  // The markup itself, without what MiniWoB++ notes in it; attributes by name, because a page that is used
  // again may set them in another order.
  function plainHtml(root) {
    const copy = root.cloneNode(true);
    for (const element of [copy, ...copy.querySelectorAll("*")]) {
      const kept = [...element.attributes].map(({ name, value }) => [name, value]).sort();
      for (const [name] of kept) element.removeAttribute(name);
      for (const [name, value] of kept) {
        if (name.startsWith("data-") && !isData(name)) continue;
        element.setAttribute(name, name === "class" ? steadyClass(value) : value);
      }
    }
    return copy.outerHTML;
  }

  // --- Actions -------------------------------------------------------------------------------------

  // How many elements an XPath finds, and the place of the first; they are kept for `place` and `select`.
  // Attributes and texts stand for their element. {error} if the engine cannot make a set of nodes of it.
  // What is not part of what was shown of the page is not there for an XPath either: MiniWoB++'s furniture,
  // which tells of earlier episodes, and the utterance unless `hasUtterance`.
  function locate(xpath, hasUtterance) {
    found = [];
    const putBack = takeAway([...FURNITURE].filter((id) => id !== "query" || !hasUtterance));
    try {
      const kind = XPathResult.ORDERED_NODE_SNAPSHOT_TYPE;
      const nodes = document.evaluate(xpath, document, null, kind, null);
      for (let i = 0; i < nodes.snapshotLength; i++) {
        const node = nodes.snapshotItem(i);
        const element = node instanceof Element ? node : node.ownerElement || node.parentElement;
        if (element && !found.includes(element)) found.push(element);
      }
    } catch (error) {
      return { error: tidy(String(error.message)).replace(/^Failed to execute '\w+' on '\w+': /, "") };
    } finally {
      putBack();
    }
    return { count: found.length, first: found.length > 0 ? place(0) : null };
  }

  // Takes the elements of these ids out of the page; returns what puts them back.
  function takeAway(ids) {
    const taken = ids.map((id) => document.getElementById(id)).filter((element) => element !== null);
    const marks = taken.map((element) => {
      const mark = document.createComment("");
      element.replaceWith(mark);
      return mark;
    });
    return () => marks.forEach((mark, i) => mark.replaceWith(taken[i]));
  }

  // Where to point the mouse to hit the found element number `index`, scrolled into view.
  function place(index) {
    const element = found[index];
    const what = short(element);
    if (element instanceof HTMLOptionElement) {
      const select = element.closest("select");
      return { what, isOption: true, isVisible: select !== null && isVisible(select) };
    }
    if (!isVisible(element)) return { what, isVisible: false };
    element.scrollIntoView({ block: "nearest", inline: "nearest", behavior: "instant" });
    const box = element.getClientRects()[0];
    const points = POINTS.map(([across, down]) => ({
      x: between(box.left, box.right, innerWidth, across),
      y: between(box.top, box.bottom, innerHeight, down),
    }));
    const free = points.find(({ x, y }) => !covering(element, x, y));
    const { x, y } = free || points[0];
    return { what, isVisible: true, x, y, covering: free ? "" : short(covering(element, x, y)) };
  }

  // Where an element may be hit: in the middle, or where that is covered a quarter from its corners.
  const POINTS = [[1 / 2, 1 / 2], [1 / 4, 1 / 4], [3 / 4, 1 / 4], [1 / 4, 3 / 4], [3 / 4, 3 / 4]];

  // A share of the way between two edges, as far as they are inside the window.
  function between(start, end, size, share) {
    const [low, high] = [Math.max(start, 0), Math.min(end, size)];
    return low + (high - low) * share;
  }

  // The element that a click at this point would go to instead of `element`; null if it would reach it.
  function covering(element, x, y) {
    const top = document.elementFromPoint(x, y);
    const isReached = top === null || element.contains(top) || top.contains(element) || isLabelOf(top, element);
    return isReached ? null : top;
  }

  const isLabelOf = (label, element) => [...(element.labels || [])].some((one) => one.contains(label));

  function isVisible(element) {
    const boxes = element.getClientRects();
    const hasArea = boxes.length > 0 && boxes[0].width > 0 && boxes[0].height > 0;
    return element.isConnected && hasArea && getComputedStyle(element).visibility === "visible";
  }

  // Selects an option as a user would: alone in a drop-down, beside others in a list of several.
  function select(index) {
    const option = found[index];
    const list = option.closest("select");
    list.focus();
    option.selected = true;
    list.dispatchEvent(new Event("input", { bubbles: true }));
    list.dispatchEvent(new Event("change", { bubbles: true }));
  }

  // An element in a few words, for a reader.
  function short(element) {
    const name = element.tagName.toLowerCase();
    const id = element.id ? `#${element.id}` : "";
    const text = tidy(element.textContent);
    return `<${name}${id}>${text.length > 30 ? `${text.slice(0, 30)}…` : text}`;
  }

  const functions = { reset, state, observe, locate, place, select };

  // The answers to several calls, [name, ...arguments] each; the last is the state of an episode that is over.
  function run(calls) {
    const answers = [];
    for (const [name, ...values] of calls) {
      const answer = functions[name](...values);
      answers.push(answer === undefined ? null : answer);
      if (name === "state" && (answer === null || answer.done)) break;
    }
    return answers;
  }

  window.envisions = Object.freeze({ run });
})();
