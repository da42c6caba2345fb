// What a reader would see of each chart: where it is, what is drawn in it, and what is wrong with its words.
(async () => {
    await document.fonts.ready;
    const box = (element) => {
        const { x, y, width, height } = element.getBoundingClientRect();
        return { x: x + scrollX, y: y + scrollY, width, height };
    };
    const meets = (one, other) =>
        Math.min(one.x + one.width, other.x + other.width) - Math.max(one.x, other.x) > 2 &&
        Math.min(one.y + one.height, other.y + other.height) - Math.max(one.y, other.y) > 3;
    const painted = (style, part) => style[part] !== "none" && !/^rgba.*, 0\)$/.test(style[part]);
    const visible = (mark) => {
        const style = getComputedStyle(mark), { width, height } = box(mark);
        return style.display !== "none" && style.visibility === "visible" && style.opacity > 0 &&
            (painted(style, "fill") || painted(style, "stroke")) && width + height > 1;
    };
    const chart = (svg) => {
        const around = box(svg);
        const texts = [...svg.querySelectorAll("text")].map((text) => ({ words: text.textContent, ...box(text) }));
        const outside = texts.filter((text) => text.x < around.x - 1 || text.y < around.y - 1 ||
            text.x + text.width > around.x + around.width + 1 || text.y + text.height > around.y + around.height + 1);
        const covered = texts.flatMap((one, index) =>
            texts.slice(index + 1).filter((other) => meets(one, other)).map((other) => `${one.words} | ${other.words}`));
        const marks = [...svg.querySelectorAll(".mark")];
        return {
            id: svg.id,
            box: around,
            marks: marks.length,
            visible: marks.filter(visible).length,
            texts: texts.length,
            outside: outside.map((text) => text.words),
            covered,
            named: !!svg.querySelector("title")?.textContent && !!svg.querySelector("desc")?.textContent &&
                svg.getAttribute("aria-labelledby").split(" ").every((id) => document.getElementById(id)),
        };
    };
    const paper = getComputedStyle(document.body).backgroundColor.match(/\d+/g).map(Number);
    return {
        charts: [...document.querySelectorAll("svg")].map(chart),
        paper,
        ink: getComputedStyle(document.body).color.match(/\d+/g).map(Number),
        fonts: [...document.fonts].filter((font) => font.status === "loaded").length,
        wider: document.documentElement.scrollWidth - innerWidth,
    };
})()
