/**
 * The steps of a run: each is told with its time when it has ended, and counts as one that passed or
 * failed, and with what its work answers, if that is a text. A step after `signal` has aborted is none.
 *
 * @param {AbortSignal} signal
 */
export function countSteps(signal) {
  const counts = { passed: 0, failed: 0 };
  return {
    counts,

    /** Whether it passed. */
    async step(name, work) {
      if (signal.aborted) return false;
      const began = performance.now();
      const seconds = () => ((performance.now() - began) / 1000).toFixed(1);
      try {
        const found = await work();
        counts.passed += 1;
        const about = typeof found === 'string' ? `: ${found}` : '';
        console.log(`✓ ${name} (${seconds()} s)${about}`);
        return true;
      } catch (error) {
        counts.failed += 1;
        console.log(`✗ ${name} (${seconds()} s): ${error.message}`);
        return false;
      }
    },

    /** The last line, and the exit code. */
    conclude() {
      console.log(`${counts.passed} passed, ${counts.failed} failed`);
      process.exitCode = counts.failed === 0 && !signal.aborted ? 0 : 1;
    },
  };
}
