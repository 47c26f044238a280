import { describe, expect, it } from 'vitest';
import { sampleGpus } from '../src/devices/gpu-sample.js';

const first = 'GPU-11111111-0000-4000-8000-000000000001';
const second = 'GPU-22222222-0000-4000-8000-000000000002';

describe('what the GPUs do', () => {
  const answers = (processes: string, gpus: string) => async (args: string[]) => {
    const [what, form] = args;
    expect(form).toBe('--format=csv,noheader,nounits');
    const isOfProcesses = what === '--query-compute-apps=gpu_uuid,pid,used_memory';
    if (!isOfProcesses) expect(what).toBe('--query-gpu=uuid,utilization.gpu');
    return { exitCode: 0, output: isOfProcesses ? processes : gpus, errors: '' };
  };

  it('is what their processes have of their memory, and how busy they are', async () => {
    const sample = await sampleGpus(
      answers(
        `${first}, 101, 512\n${second}, 101, 7\n${first}, 102, 3\n`,
        `${first}, 97\n${second}, 0\n`,
      ),
    );
    expect(sample).toEqual({
      processes: [
        { gpu: first, pid: 101, memoryMib: 512 },
        { gpu: second, pid: 101, memoryMib: 7 },
        { gpu: first, pid: 102, memoryMib: 3 },
      ],
      utilization: new Map([
        [first, 97],
        [second, 0],
      ]),
    });
  });

  it.each(['', '\n', 'No running processes found\n', `${first}, [N/A], [N/A]\n`, 'a,b,c,d\n,,,\n'])(
    'is nothing where nobody can tell: %j',
    async (text) => {
      expect(await sampleGpus(answers(text, text))).toEqual({
        processes: [],
        utilization: new Map(),
      });
    },
  );

  it('fails with the words of the program', async () => {
    const failing = () => Promise.resolve({ exitCode: 255, output: '', errors: 'Unknown Error\n' });
    await expect(sampleGpus(failing)).rejects.toThrow('nvidia-smi ended with 255: Unknown Error');
  });

  it('is what it says of the others when one does not answer', async () => {
    const failing = async (args: string[]) => ({
      ...(await answers(`${first}, 101, 512\n`, `${first}, 97\n`)(args)),
      ...{ exitCode: 255, errors: 'Unable to determine the device handle for GPU1' },
    });
    const sample = await sampleGpus(failing);
    expect(sample.processes).toHaveLength(1);
    expect([...sample.utilization]).toEqual([[first, 97]]);
  });
});
