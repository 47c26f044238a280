/**
 * Answers messages in their order, so many at a time: the next is read once the oldest is answered and taken.
 * Where one fails, what comes before it is answered, and the whole fails with it. `isFull`: no more is read
 * beside what is unanswered. When `stopping` aborts, what is unanswered then is answered, and all fails with its
 * reason.
 */
export async function answerInOrder<Message, Answer>(
  messages: AsyncIterable<Message>,
  {
    window,
    isFull,
    answer,
    write,
    stopping,
  }: {
    window: number;
    isFull: () => boolean;
    answer: (message: Message) => Promise<Answer>;
    write: (answer: Answer) => Promise<void>;
    stopping: AbortSignal;
  },
): Promise<void> {
  /** Settled when all answers so far are written. */
  let written: Promise<void> = Promise.resolve();
  const unanswered: Promise<void>[] = [];
  let fail: (error: unknown) => void = () => undefined;
  const failed = new Promise<never>((_resolve, reject) => (fail = reject));
  const stop = () => void written.then(() => fail(stopping.reason), fail);

  async function writeAfter(before: Promise<void>, answered: Promise<Answer>): Promise<void> {
    await before;
    await write(await answered);
  }

  async function readOn(): Promise<void> {
    try {
      for await (const message of messages) {
        const answered = answer(message);
        // Where one before it fails, nobody looks at it.
        answered.catch(() => undefined);
        written = writeAfter(written, answered);
        // At once, though the next message may be waited for for ever.
        written.catch(fail);
        unanswered.push(written);
        while (unanswered.length >= window || (unanswered.length > 0 && isFull())) {
          await unanswered.shift();
        }
      }
    } finally {
      await written;
    }
  }

  if (stopping.aborted) stop();
  stopping.addEventListener('abort', stop, { once: true });
  try {
    await Promise.race([readOn(), failed]);
  } finally {
    stopping.removeEventListener('abort', stop);
  }
}
