"""One line around a model call: the provider's own client, metered.

    async with credits.hold(team="team_42", member="mem_7", items=expected) as hold:
        answer = await wrap(AsyncOpenAI(), hold).chat.completions.create(model="gpt-5", messages=messages)

Answers are read as they pass, whole or streamed, however the provider's library is called (`create`, `parse`, `stream`,
raw answers), and what the provider says of usage is reported as the quantities of a rate card. Neither library is
needed to import this.

    wrapping       `wrap`, for the clients of OpenAI and Anthropic
    transports     between a provider's client and its HTTP
    answers        what an answer says of usage, as it passes
    counts         what each provider's counts mean
    meters         where counts go
    litellm        a callback for LiteLLM
    opentelemetry  what spans say was used, to compare with; never charged
"""

from .answers import UncountedCall
from .counts import UnreadableUsage, anthropic_quantities, openai_quantities
from .meters import TeamUsage
from .wrapping import wrap

__all__ = ["TeamUsage", "UncountedCall", "UnreadableUsage", "anthropic_quantities", "openai_quantities", "wrap"]
