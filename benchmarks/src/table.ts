import type { Figure, Measurement, Unit } from './report.js';

/** The figures as text, one a line, with the goals beside them. */
export function tableOf({ name, settings, figures }: Measurement): string {
  const rows = figures.map((figure) => [figure.what, valueOf(figure), verdictOf(figure)]);
  const width = Math.max(...rows.map(([what = '']) => what.length));
  const conditions = Object.entries(settings)
    .map(([setting, value]) => `${setting} ${value}`)
    .join(', ');
  return [
    `${name} (${conditions})`,
    ...rows.map(([what = '', value = '', verdict = '']) =>
      `  ${what.padEnd(width)}  ${value.padStart(13)}  ${verdict}`.trimEnd(),
    ),
  ].join('\n');
}

const digits: Record<Unit, number> = { ms: 2, KiB: 1, MiB: 1, 'MiB/s': 0, '1/s': 0, '×': 2 };

function valueOf({ value, unit }: Figure): string {
  return `${value.toFixed(digits[unit])} ${unit.padEnd(5)}`;
}

function verdictOf({ value, unit, goal }: Figure): string {
  if (goal === undefined) return '';
  const [is, limit, isMet] =
    'atMost' in goal
      ? ['at most', goal.atMost, value <= goal.atMost]
      : ['at least', goal.atLeast, value >= goal.atLeast];
  return `goal: ${is} ${limit.toFixed(digits[unit])} ${unit}, ${isMet ? 'met' : 'missed'}`;
}
