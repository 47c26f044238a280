import os

import requests

api = os.getenv("API_URL", "http://127.0.0.1:8000")
measurements = {
    "name": "measurements",
    "datatype": "FP32",
    "shape": [1, 4],
    "data": [5.1, 3.5, 1.4, 0.2],
}
answer = requests.post(
    f"{api}/v2/models/iris/infer",
    json={"inputs": [measurements], "outputs": [{"name": "species"}]},
    headers={"authorization": "Bearer " + os.environ["API_KEY"]},
)
answer.raise_for_status()
print(*answer.json()["outputs"][0]["data"])
