// What is wrong with the page as it is shown now: a list of sentences, empty when all is well.
() => {
  const wrong = [];
  const tell = (element, what) => {
    const text = (element.textContent || "").trim().replace(/\s+/g, " ").slice(0, 40);
    const place = `<${element.localName} class="${element.getAttribute("class") || ""}">`;
    wrong.push(`${place} “${text}”: ${what}`);
  };
  const shown = (element) => {
    const box = element.getBoundingClientRect();
    return box.width > 0 && box.height > 0 && element.checkVisibility({ visibilityProperty: true });
  };
  const ownText = (element) =>
    [...element.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.data.trim());

  // the page does not scroll sideways; a table or a plot may, inside its own box
  const wide = document.documentElement.scrollWidth;
  if (wide > innerWidth) wrong.push(`the page is ${wide} pixels wide in a window of ${innerWidth}`);
  const boxed = (element) => {
    const box = element.closest(".scroll, pre");
    return box && getComputedStyle(box).overflowX === "auto";
  };
  for (const element of document.querySelectorAll("body *")) {
    const box = element.getBoundingClientRect();
    if (box.right > innerWidth + 1 && shown(element) && !boxed(element))
      tell(element, `reaches ${Math.round(box.right)} of ${innerWidth} pixels`);
  }

  for (const picture of document.querySelectorAll("svg, img")) {
    const said = picture.getAttribute(picture.localName === "img" ? "alt" : "aria-label");
    const title = picture.querySelector(":scope > title")?.textContent;
    if (!(said || title || "").trim()) tell(picture, "has no text alternative");
    if (picture.localName === "svg" && picture.getAttribute("role") !== "img")
      tell(picture, "is no image to a screen reader");
    const frame = picture.getBoundingClientRect();
    const labels = [...picture.querySelectorAll("text")].filter(shown);
    for (const text of labels) {
      const box = text.getBoundingClientRect();
      const out = Math.max(frame.left - box.left, box.right - frame.right,
                           frame.top - box.top, box.bottom - frame.bottom);
      if (out > 2) tell(text, `is cut off by ${out.toFixed(1)} pixels at the edge of its plot`);
    }
    // boxes of slanted labels overlap where their letters do not
    const flat = labels.filter((t) => !/rotate\((?!-?0\b|-?90\b)/.test(t.getAttribute("transform")));
    for (const [i, one] of flat.entries())
      for (const other of flat.slice(i + 1)) {
        const a = one.getBoundingClientRect(), b = other.getBoundingClientRect();
        const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (across > 2 && down > 0.4 * Math.min(a.height, b.height))
          tell(one, `lies upon “${other.textContent.trim().slice(0, 40)}”`);
      }
  }

  const channels = (colour) => {
    const numbers = colour.match(/[\d.]+(e-?\d+)?/g).map(Number);
    const [r, g, b, a = 1] = numbers;
    if (colour.startsWith("rgb")) return { rgb: [r, g, b], a };
    if (colour.startsWith("color(srgb ")) return { rgb: [255 * r, 255 * g, 255 * b], a };
    throw new Error(`a colour of a kind not known here: ${colour}`);
  };
  const over = (top, below) => top.rgb.map((v, i) => top.a * v + (1 - top.a) * below[i]);
  const paper = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      layers.push(channels(getComputedStyle(at).backgroundColor));
      if (layers.at(-1).a === 1) break;
    }
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => {
      const x = v / 255;
      return x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const kinds = "h1, h2, h3, p, li, dt, dd, td, th, small, span, figcaption, blockquote, summary, a, pre, text";
  for (const element of document.querySelectorAll(kinds)) {
    if (!ownText(element) || !shown(element)) continue;
    const style = getComputedStyle(element);
    const below = paper(element);
    const ink = channels(element.localName === "text" ? style.fill : style.color);
    const both = [light(over(ink, below)), light(below)].sort((x, y) => y - x);
    const ratio = (both[0] + 0.05) / (both[1] + 0.05);
    if (ratio < 4.5) tell(element, `has a contrast of ${ratio.toFixed(2)}`);
  }
  return wrong;
}
