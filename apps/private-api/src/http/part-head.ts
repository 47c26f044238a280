import { AppError } from '@inference-server/errors';

export interface PartHead {
  name: string;
  /** Undefined: the part is a field. Empty: of a file input that was left empty, as a rule. */
  fileName: string | undefined;
  /** Content-Transfer-Encoding, in lower case. */
  encoding: string;
}

const maxHeaders = 32;

/**
 * The head of a part: its lines, each with a line break before it. Throws INVALID_FORM on a head
 * that is out of form, that has a second Content-Disposition, or a second name.
 */
export function readPartHead(head: string): PartHead {
  const [nothing, ...lines] = head.split('\r\n');
  if (nothing !== '' || lines.length > maxHeaders) throw unreadable();
  const headers = lines.map(readHeader);
  const disposition = onlyValue(headers, 'content-disposition') ?? '';
  const parameters = readParameters(disposition);
  const name = parameters.get('name');
  if (name === undefined || parameters.has('name*')) throw unreadable();
  const encoding = onlyValue(headers, 'content-transfer-encoding') ?? '7bit';
  return { name, fileName: parameters.get('filename'), encoding: encoding.toLowerCase() };
}

/** No line goes on in the next one, and none ends with half a line break. */
function readHeader(line: string): [name: string, value: string] {
  const [, name, value] = /^([\w!#$%&'*+.^`|~-]+):[ \t]*([^\r\n]*?)[ \t]*$/.exec(line) ?? [];
  if (name === undefined || value === undefined) throw unreadable();
  return [name.toLowerCase(), value];
}

function onlyValue(
  headers: readonly [name: string, value: string][],
  name: string,
): string | undefined {
  const [first, second] = headers.filter(([each]) => each === name);
  if (second !== undefined) throw unreadable();
  return first?.[1];
}

/** Of `form-data; name="…"; filename="…"`, with names in lower case. */
function readParameters(disposition: string): Map<string, string> {
  const [type = ''] = /^[^\s;]*/.exec(disposition) ?? [];
  if (type.toLowerCase() !== 'form-data') throw unreadable();
  const parameters = new Map<string, string>();
  const parameter = /\s*;\s*([^\s=;"]+)=(?:"((?:\\.|[^"\\])*)"|([^\s;"]*))/y;
  let at = type.length;
  for (;;) {
    parameter.lastIndex = at;
    const found = parameter.exec(disposition);
    if (found === null) break;
    at = parameter.lastIndex;
    const [, name = '', quoted, token = ''] = found;
    if (parameters.has(name.toLowerCase())) throw unreadable();
    parameters.set(name.toLowerCase(), quoted?.replaceAll(/\\(.)/g, '$1') ?? token);
  }
  if (!/^\s*;?\s*$/.test(disposition.slice(at))) throw unreadable();
  return parameters;
}

function unreadable(): AppError {
  return new AppError('INVALID_FORM', 'The form has a part that cannot be read.', {
    extensions: { parameter: 'zip_file' },
  });
}
