import {
  floatTensor,
  integerTensor,
  textTensor,
  type Model,
} from '@inference-server/example-runtime-server';
import { stringsOf } from '@inference-server/protos';
import { readPng, type Image } from './png.js';

/** The size of an image, and of each channel mean, standard deviation, least and greatest sample. */
export async function createImageModel(): Promise<Model> {
  return (inputs) => {
    const tensor = inputs.get('image');
    const [bytes = Buffer.alloc(0)] = tensor === undefined ? [] : stringsOf(tensor);
    const image = readPng(bytes);
    const channels = image.channels.map((_, index) => statistics(image, index));
    const count = [channels.length];
    return new Map([
      ['width', integerTensor([], [image.width])],
      ['height', integerTensor([], [image.height])],
      ['channels', textTensor(count, image.channels)],
      [
        'mean',
        floatTensor(
          count,
          channels.map(({ mean }) => mean),
        ),
      ],
      [
        'deviation',
        floatTensor(
          count,
          channels.map(({ deviation }) => deviation),
        ),
      ],
      [
        'minimum',
        integerTensor(
          count,
          channels.map(({ minimum }) => minimum),
        ),
      ],
      [
        'maximum',
        integerTensor(
          count,
          channels.map(({ maximum }) => maximum),
        ),
      ],
    ]);
  };
}

function statistics({ samples, channels, highest }: Image, channel: number) {
  let sum = 0;
  let squares = 0;
  let minimum: number = highest;
  let maximum = 0;
  for (let at = channel; at < samples.length; at += channels.length) {
    const sample = samples[at] ?? 0;
    sum += sample;
    squares += sample * sample;
    if (sample < minimum) minimum = sample;
    if (sample > maximum) maximum = sample;
  }
  const count = samples.length / channels.length;
  const mean = sum / count;
  return {
    mean,
    deviation: Math.sqrt(Math.max(0, squares / count - mean * mean)),
    minimum,
    maximum,
  };
}
