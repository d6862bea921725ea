// What the styles of a host make of our pages. Tests evaluate it in the browser.
({
    /** Texts of ours with less than 4.5 to 1 to what is behind them, and edges with less than 3 to 1. */
    poorContrasts() {
        const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
        const known = new Map();
        const parsed = (text) => {
            if (!known.has(text)) {
                context.clearRect(0, 0, 1, 1);
                context.fillStyle = text;
                context.fillRect(0, 0, 1, 1);
                const [red, green, blue, alpha] = context.getImageData(0, 0, 1, 1).data;
                known.set(text, [red, green, blue, alpha / 255]);
            }
            return known.get(text);
        };
        const over = (top, ground) => [0, 1, 2].map((i) => top[i] * top[3] + ground[i] * (1 - top[3])).concat(1);
        const behind = (item) => {
            const layers = [];
            for (let at = item; at; at = at.parentElement) {
                layers.unshift(parsed(getComputedStyle(at).backgroundColor));
                if (layers[0][3] === 1 || at.matches("dialog, [popover]")) break;
            }
            return layers.reduce((below, layer) => over(layer, below), [255, 255, 255, 1]);
        };
        const luminance = (colour) => colour.slice(0, 3).map((part) => part / 255)
            .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
            .reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0);
        const contrast = (colour, ground) => {
            const [low, high] = [over(parsed(colour), ground), ground].map(luminance).sort((a, b) => a - b);
            return (high + 0.05) / (low + 0.05);
        };
        const found = [];
        const demand = (least, value, what, item) => {
            if (value < least) found.push(`${what} of ${item.tagName} ${item.className}: ${value.toFixed(2)}`);
        };
        for (const item of document.querySelectorAll(".wh, .wh *")) {
            const shown = item.checkVisibility({ visibilityProperty: true });
            if (!shown || item.closest("svg, .wh-hidden")) continue;
            const style = getComputedStyle(item);
            const takesText = item.matches("input:not([type=hidden]), select, textarea");
            if (takesText || [...item.childNodes].some((node) => node.nodeType === 3 && node.data.trim())) {
                demand(4.5, contrast(style.color, behind(item)), "text", item);
            }
            if (item.matches(".wh-input, .wh-button:not(:disabled, .wh-primary)")) {
                const drawn = parseFloat(style.borderTopWidth) >= 1 && style.borderTopStyle === "solid";
                demand(3, drawn ? contrast(style.borderTopColor, behind(item.parentElement)) : 1, "edge", item);
            }
        }
        return found;
    },

    /** What the host's style sheet changes on elements of ours. */
    changedStyles() {
        // What resets and themes set, as far as it does not depend on the room there is. The font is the host's.
        const names = `align-items align-self appearance background-color background-image block-size
            border-block-end-color border-block-end-style border-block-end-width border-block-start-color
            border-block-start-style border-block-start-width border-collapse border-end-end-radius
            border-inline-end-style border-inline-end-width border-inline-start-color border-inline-start-style
            border-inline-start-width border-spacing border-start-start-radius box-shadow box-sizing color
            color-scheme column-gap content cursor display fill flex-grow flex-shrink float font-size font-style
            font-variant font-weight hyphens letter-spacing line-height list-style-image list-style-position
            list-style-type margin-block-end margin-block-start max-block-size max-inline-size min-block-size
            min-inline-size opacity outline-style outline-width overflow-wrap overflow-x overflow-y
            padding-block-end padding-block-start padding-inline-end padding-inline-start pointer-events position
            resize rotate row-gap stroke stroke-width tab-size text-align text-decoration-color
            text-decoration-line text-indent text-overflow text-shadow text-transform transform
            transition-duration translate user-select vertical-align visibility white-space word-break
            word-spacing z-index`.split(/\s+/);
        const parts = ["", "::before", "::after"];
        const items = [...document.querySelectorAll(".wh, .wh *")];
        const counts = (item, name) => {
            // The height of a line, the width of a text and the room around a dialog follow from the font, and shapes
            // have no boxes.
            if (item.closest("svg") && item.tagName !== "svg") return /^(display|fill|opacity|stroke.*|visib.*)$/.test(name);
            if (name === "max-inline-size" && item.matches(".wh-text")) return false;
            if (name.startsWith("margin-block") && item.matches("dialog")) return false;
            return name !== "block-size" || item.matches("input, select, svg");
        };
        const read = () => items.map((item) => parts.map((part) => {
            const style = getComputedStyle(item, part);
            if (part && style.content === "none") return names.map(() => "");
            return names.map((name) => counts(item, name) ? style.getPropertyValue(name) : "");
        }));
        const root = document.documentElement;
        const sheet = [...document.styleSheets].find((item) => item.href?.endsWith("/host.css"));
        const found = read();
        // Without its style sheet the host still says whether it is light or dark.
        root.style.colorScheme = getComputedStyle(document.querySelector(".wh")).colorScheme;
        sheet.disabled = true;
        const wanted = read();
        sheet.disabled = false;
        root.style.colorScheme = "";
        return items.flatMap((item, i) => parts.flatMap((part, p) => names.flatMap((name, n) => {
            const [one, other] = [wanted[i][p][n], found[i][p][n]];
            return one === other ? [] : [`${item.tagName} ${item.getAttribute("class")}${part} ${name}: ${one}, now ${other}`];
        })));
    },
})
