import { ZxcvbnFactory } from '@zxcvbn-ts/core';
import { adjacencyGraphs, dictionary } from '@zxcvbn-ts/language-common';
import { AppError } from '@inference-server/errors';

export const minPasswordLength = 10;

/** A guesser who begins with what people take has to make more tries than this (10^8). */
const minScore = 3;

/** More of a password is not looked at: the time for that grows faster than its length. */
const judgedLength = 72;

/** Throws VALIDATION_FAILED for a password that is too short, has the user name in it or is soon guessed. */
export function requireStrongPassword(password: string, userName: string): void {
  const plain = password.normalize('NFKC').toLowerCase();
  if (plain.length < minPasswordLength) {
    throw refused(`has fewer than ${minPasswordLength} characters`);
  }
  const name = userName.toLowerCase();
  const parts = name.split(/[^a-z0-9]+/).filter((part) => part.length >= 4);
  if ([name, ...parts].some((part) => part.length >= 3 && plain.includes(part))) {
    throw refused('has the user name in it, or a part of it');
  }
  const { score } = guesser.check(plain.slice(0, judgedLength), [name, ...parts, ...ofThePlace]);
  if (score < minScore) throw refused('is among those that are guessed first');
}

/** Knows common passwords, keyboards, runs, repeats, dates and letters that are written as digits. */
const guesser = new ZxcvbnFactory({ dictionary, graphs: adjacencyGraphs });

/** What somebody who knows where the server stands tries first. */
const ofThePlace = [
  ...['inference', 'inferenceserver', 'server', 'hospital', 'clinic', 'clinical', 'radiology'],
  ...['klinik', 'klinikum', 'krankenhaus', 'radiologie', 'universitaet', 'passwort', 'willkommen'],
];

function refused(why: string): AppError {
  return new AppError('VALIDATION_FAILED', `password ${why}.`, {
    extensions: { parameter: 'password' },
  });
}
