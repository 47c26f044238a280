/** Lists in lists and maps in maps are never as deep. */
const maxDepth = 64;
/**
 * Lists, objects and texts with names among them: each takes far more time and room than its two bytes, and
 * nothing else is done while a document is read.
 */
const maxParts = 2_000_000;
/** In one object; a contract has no more. Thousands that differ are kept in a way that takes long. */
const maxNames = 1_000;
/** In all objects: each that is new takes a parser as long as hundreds that it knows. */
const maxDifferentNames = 10_000;

/** Why a text is not parsed; what is said of each. */
export const faults = {
  repeated: 'a name stands twice in an object',
  deep: `lists and objects stand in each other more than ${maxDepth} deep`,
  wide: `an object has more than ${maxNames} names`,
  diverse: `its objects have more than ${maxDifferentNames} different names`,
  many: `it has more than ${maxParts} lists, objects and texts`,
};

/**
 * Looks at a text before it is parsed. A name that stands twice is told since parsers take the last without a
 * word, and whoever looked at the first was deceived. Of what is no JSON nothing need be told.
 */
export function faultOf(text: string): keyof typeof faults | undefined {
  const names: Set<string>[] = [];
  const different = new Set<string>();
  const mark = /["{}[\]]/g;
  let parts = 0;
  let depth = 0;
  while (mark.test(text)) {
    const at = mark.lastIndex - 1;
    const char = text[at];
    if (char === '}' || char === ']') {
      depth = Math.max(depth - 1, 0);
      continue;
    }
    parts += 1;
    if (parts > maxParts) return 'many';
    if (char !== '"') {
      if (depth === maxDepth) return 'deep';
      depth += 1;
      const had = names[depth];
      if (had === undefined) names[depth] = new Set();
      else if (had.size > 0) had.clear();
      continue;
    }
    const end = endOfString(text, at);
    mark.lastIndex = end;
    if (!isName(text, end)) continue;
    const name = nameOf(text.slice(at, end));
    // The parser goes no further than this.
    if (name === undefined) return undefined;
    const known = names[depth];
    if (known?.has(name) === true) return 'repeated';
    if (known?.size === maxNames) return 'wide';
    known?.add(name);
    different.add(name);
    if (different.size > maxDifferentNames) return 'diverse';
  }
  return undefined;
}

/** Whether a whole number, outside of texts, has digits that a number of JavaScript may not hold. */
export function hasLongNumber(text: string): boolean {
  for (let at = 0; at < text.length;) {
    const quoteAt = text.indexOf('"', at);
    const end = quoteAt === -1 ? text.length : quoteAt;
    if (end - at >= 16 && longNumber.test(text.slice(at, end))) return true;
    at = quoteAt === -1 ? end : endOfString(text, quoteAt);
  }
  return false;
}

/** One with a fraction, an exponent or more digits is the nearest anyway. */
const longNumber = /(?<![\d.])\d{16,25}(?![\d.eE])/;

/**
 * Whether a JSON document has more than so many bytes outside its texts, every quote in them included. It is these
 * that take time: the rest of a text is read nearly as fast as it is copied.
 */
export function hasOutsideTexts(document: Buffer, moreThan: number): boolean {
  let outside = 0;
  let isText = false;
  let at = 0;
  while (outside <= moreThan) {
    const next = document.indexOf(quote, at);
    const end = next === -1 ? document.length : next + 1;
    outside += isText ? 1 : end - at;
    if (next === -1) break;
    if (!isText || !isEscaped(document, next)) isText = !isText;
    at = end;
  }
  return outside > moreThan;
}

function isEscaped(document: Buffer, at: number): boolean {
  let escapes = 0;
  while (document[at - 1 - escapes] === backslash) escapes += 1;
  return escapes % 2 === 1;
}

const quote = 0x22;
const backslash = 0x5c;

/** Behind the quote that ends the string that begins there. */
function endOfString(text: string, start: number): number {
  for (let at = text.indexOf('"', start + 1); at > 0; at = text.indexOf('"', at + 1)) {
    let escapes = 0;
    while (text[at - 1 - escapes] === '\\') escapes += 1;
    if (escapes % 2 === 0) return at + 1;
  }
  return text.length;
}

function isName(text: string, end: number): boolean {
  let at = end;
  while (text[at] === ' ' || text[at] === '\n' || text[at] === '\r' || text[at] === '\t') at += 1;
  return text[at] === ':';
}

/** Undefined of what is no string of JSON. */
function nameOf(quoted: string): string | undefined {
  if (!quoted.includes('\\')) return quoted.slice(1, -1);
  try {
    return JSON.parse(quoted) as string;
  } catch {
    return undefined;
  }
}
