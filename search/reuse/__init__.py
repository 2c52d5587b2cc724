"""A recipe used again, without a search: trained on a study's data, or its weights evaluated."""
