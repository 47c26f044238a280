const { API_URL = 'http://127.0.0.1:8000', API_KEY } = process.env;

const measurements = {
  name: 'measurements',
  datatype: 'FP32',
  shape: [1, 4],
  data: [5.1, 3.5, 1.4, 0.2],
};
const answer = await fetch(`${API_URL}/v2/models/iris/infer`, {
  method: 'POST',
  headers: { 'content-type': 'application/json', authorization: `Bearer ${API_KEY}` },
  body: JSON.stringify({ inputs: [measurements], outputs: [{ name: 'species' }] }),
});
const { outputs, error } = (await answer.json()) as any;
if (!answer.ok) throw new Error(error);
console.log(...outputs[0].data);
