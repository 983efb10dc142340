"""What a generated set of dashboards depends on besides its source."""

from dataclasses import dataclass

# Grafana does not interpolate units, so the currency's symbol is written into the dashboards.
SYMBOLS = {
    "EUR": "€",
    "USD": "$",
    "GBP": "£",
    "JPY": "¥",
    "CNY": "¥",
    "INR": "₹",
    "KRW": "₩",
    "CHF": "CHF ",
    "PLN": "PLN ",
    "SEK": "SEK ",
    "CZK": "CZK ",
}

# The registry counts money in millionths: six decimals show every amount to the digit.
EXACT_DECIMALS = 6


def symbol(currency: str) -> str:
    return SYMBOLS.get(currency, f"{currency} ")


@dataclass(frozen=True)
class Settings:
    """`currency` is the network's; `owner_currency` is what the workers' owner pays electricity in."""

    currency: str
    owner_currency: str
    registry_url: str

    @property
    def money(self) -> str:
        """The network's money in full: Grafana's own currency units shorten 12345 to 12.3K."""
        return f"currency:financial:{symbol(self.currency)}"

    @property
    def owner_money(self) -> str:
        return f"currency:financial:{symbol(self.owner_currency)}"

    def owner_money_per(self, unit: str) -> str:
        return f"suffix: {symbol(self.owner_currency).strip()}/{unit}"
