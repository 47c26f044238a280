/** The log of an attempt: the end of the container's output, and the consumer's own lines. */
export interface AttemptLog {
  /** One line of the consumer's own, kept once; many of them are counted, not kept. */
  note(line: string): void;
  setOutput(text: string): void;
  text(): string;
}

export function createAttemptLog(): AttemptLog {
  const notes = new Set<string>();
  let more = 0;
  let output = '';
  return {
    note(line) {
      if (notes.size < maxNotes) notes.add(line);
      else if (!notes.has(line)) more += 1;
    },
    setOutput(text) {
      output = text;
    },
    text() {
      const own = [...notes].map((line) => `[job-consumer] ${line}\n`);
      if (more > 0) own.push(`[job-consumer] and ${more} more lines\n`);
      const gap = output === '' || output.endsWith('\n') || own.length === 0 ? '' : '\n';
      // The database takes no NUL in a text.
      return `${output}${gap}${own.join('')}`.replaceAll('\0', '\uFFFD');
    },
  };
}

const maxNotes = 100;
