"""The default Mixtral in Transformers, from the folder that `mistral-client models export` has written."""

import sys

from transformers import AutoModelForCausalLM, AutoTokenizer

folder = sys.argv[1] if len(sys.argv) > 1 else "mixtral-8x135m"
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)

messages = [{"role": "user", "content": "What is the capital of France?"}]
prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
answer = model.generate(**prompt, max_new_tokens=40, do_sample=False)
print(tokenizer.decode(answer[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))
