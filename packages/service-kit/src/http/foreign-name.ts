/**
 * The name of a parameter that a caller has made up, as far as an answer may show it: when it looks like a
 * name of ours. Anything else (a key, a password in the wrong place) is shown to nobody.
 */
export function foreignName(name: string): string {
  return /^[a-z][a-z_]{0,39}$/.test(name) ? name : '(unprintable)';
}
