import { ZxcvbnFactory } from '@zxcvbn-ts/core';
import { adjacencyGraphs, dictionary } from '@zxcvbn-ts/language-common';

/** More of a text is not looked at: the time for that grows faster than its length. */
const judgedLength = 72;

let guesser: ZxcvbnFactory | undefined;

/**
 * How many tries (log10) a guesser needs who begins with what people take: common passwords and words,
 * keyboards, runs, repeats, dates, letters that are written as digits, and `words`. Of a long text its end is
 * judged, where tokens have what is random in them.
 */
export function guessesLog10(text: string, words: readonly string[] = []): number {
  return judged(text, words).guessesLog10;
}

/**
 * How many characters of a text (of its end) stand in no word of four letters and more, no run, repeat, date
 * or row of keys. What only separates such counts as nothing.
 */
export function countBesideWords(text: string): number {
  return judged(text, [])
    .sequence.filter(
      ({ pattern, token }) =>
        pattern === 'bruteforce' || (pattern === 'dictionary' && token.length < 4),
    )
    .reduce((sum, { token }) => sum + (/[A-Za-z0-9]/.test(token) ? token.length : 0), 0);
}

function judged(text: string, words: readonly string[]) {
  guesser ??= new ZxcvbnFactory({ dictionary, graphs: adjacencyGraphs });
  return guesser.check(text.slice(-judgedLength), [...words, ...ofThePlace]);
}

/** What somebody who knows what this is, and where it stands, tries first. */
const ofThePlace = [
  ...['inference', 'inferenceserver', 'server', 'hospital', 'clinic', 'clinical', 'radiology'],
  ...['klinik', 'klinikum', 'krankenhaus', 'radiologie', 'universitaet', 'passwort', 'willkommen'],
  ...['change', 'changeme', 'example', 'token', 'private', 'public', 'default', 'placeholder'],
  ...['production', 'postgres', 'redis', 'operator', 'consumer', 'bootstrap', 'replace', 'insert'],
  ...['super', 'very', 'secret', 'password', 'please', 'here', 'with', 'this', 'your', 'long'],
  ...['random', 'string', 'value', 'some', 'strong', 'secure', 'generate', 'generated', 'internal'],
  ...['bitte', 'hier', 'eine', 'einen', 'langes', 'geheimnis', 'geheim', 'eintragen', 'schluessel'],
  ...['credential', 'credentials', 'gateway', 'access', 'service', 'model', 'models', 'that'],
];
