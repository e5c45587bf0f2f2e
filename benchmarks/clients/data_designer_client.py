"""NeMo Data Designer: one text column over a seed of documents, its defaults but for the concurrency."""

from __future__ import annotations

import os
import sys

from clock import guard, read_rows, timed

port, documents, concurrency, folder = sys.argv[1:5]
os.environ |= {
    "DATA_DESIGNER_HOME": f"{folder}/home", "NEMO_TELEMETRY_ENABLED": "false", "HF_HUB_OFFLINE": "1",
    "NONE_KEY": "none",
}  # fmt: skip
guard()

import data_designer.config as dd  # noqa: E402
import pandas as pd  # noqa: E402
from data_designer.interface import DataDesigner  # noqa: E402

rows = read_rows(documents)
provider = dd.ModelProvider(
    name="instant", endpoint=f"http://127.0.0.1:{port}/v1", provider_type="openai", api_key="NONE_KEY"
)
model = dd.ModelConfig(
    alias="instant",
    model="instant",
    provider="instant",
    skip_health_check=True,
    inference_parameters=dd.ChatCompletionInferenceParams(
        temperature=0.0, max_tokens=400, max_parallel_requests=int(concurrency)
    ),
)
builder = dd.DataDesignerConfigBuilder(model_configs=[model])
builder.with_seed_dataset(dd.DataFrameSeedSource(df=pd.DataFrame(rows)))
builder.add_column(dd.LLMTextColumnConfig(name="pairs", model_alias="instant", prompt="<CON> {{ text }} </CON>"))
designer = DataDesigner(model_providers=[provider], artifact_path=f"{folder}/artifacts")
with timed(len(rows)) as found:
    made = designer.create(builder, num_records=len(rows), dataset_name="instant")
    found["rows"] = len(made.load_dataset())
