/**
 * Whether an object in a text that is JSON has a name twice: parsers take the last without a word, and whoever
 * looked at the first was deceived.
 */
export function hasRepeatedName(text: string): boolean {
  const open: Set<string>[] = [];
  const mark = /["{}]/g;
  while (mark.test(text)) {
    const at = mark.lastIndex - 1;
    if (text[at] === '{') open.push(new Set());
    else if (text[at] === '}') open.pop();
    else {
      const end = endOfString(text, at);
      mark.lastIndex = end;
      const names = open.at(-1);
      if (names === undefined || !isName(text, end)) continue;
      const name = nameOf(text.slice(at, end));
      if (names.has(name)) return true;
      names.add(name);
    }
  }
  return false;
}

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

function nameOf(quoted: string): string {
  return quoted.includes('\\') ? (JSON.parse(quoted) as string) : quoted.slice(1, -1);
}
