"""The wire types under the names that later clients gave them. They are the same types."""

from . import chat_completion, embeddings, fim, models

CompletionChunk = chat_completion.ChatCompletionStreamResponse
ChatCompletionChoice = chat_completion.ChatCompletionResponseChoice
CompletionResponseStreamChoice = chat_completion.ChatCompletionResponseStreamChoice
FIMCompletionResponse = chat_completion.ChatCompletionResponse
ThinkChunk = chat_completion.ThinkingChunk
UnknownContentChunk = chat_completion.ContentChunk
ChatCompletionStreamRequest = chat_completion.ChatCompletionRequest
FIMCompletionStreamRequest = fim.FIMCompletionRequest
MistralPromptMode = ReasoningEffort = EmbeddingDtype = EncodingFormat = str  # their values are plain texts
ToolTypes = chat_completion.ToolType
ToolChoice = chat_completion.NamedToolChoice
ToolChoiceEnum = chat_completion.ToolChoice
ImageURL = dict  # `ImageURL(url=..., detail=...)`
EmbeddingResponseData = embeddings.EmbeddingObject
BaseModelCard = FTModelCard = models.ModelCard
DeleteModelOut = DeleteModelResponse = models.ModelDeleted
