"""A program of January 2024, as its readers typed it. Nothing here may be changed to make it run."""

from mistralai.client import MistralClient


def main():
    api_key = "MISTRAL_API_KEY"
    client = MistralClient(api_key=api_key)

    list_models_response = client.list_models()
    print(list_models_response)


if __name__ == "__main__":
    main()
