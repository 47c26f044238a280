/** As Last-Modified and its like carry it: whole seconds, the rest is cut off. */
export function formatHttpDate(date: Date): string {
  return date.toUTCString();
}

/**
 * The time (ms) that an HTTP-date names, in any of the three forms of RFC 9110, 5.6.7; undefined for
 * anything else, however much of a date it looks like: a condition on it has to be ignored.
 */
export function parseHttpDate(text: string): number | undefined {
  if (!preferred.test(text) && !rfc850.test(text) && !asctime.test(text)) return undefined;
  const ms = Date.parse(asctime.test(text) ? `${text} GMT` : text);
  return Number.isNaN(ms) ? undefined : ms;
}

const month = '(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)';
const time = '\\d{2}:\\d{2}:\\d{2}';
const day = '(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)';
const longDay = '(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day';
/** Sun, 06 Nov 1994 08:49:37 GMT */
const preferred = new RegExp(`^${day}, \\d{2} ${month} \\d{4} ${time} GMT$`);
/** Sunday, 06-Nov-94 08:49:37 GMT */
const rfc850 = new RegExp(`^${longDay}, \\d{2}-${month}-\\d{2} ${time} GMT$`);
/** Sun Nov  6 08:49:37 1994 */
const asctime = new RegExp(`^${day} ${month} (?:\\d| )\\d ${time} \\d{4}$`);
