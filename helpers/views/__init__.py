"""Everything that reads a recording or a distribution and shows it; nothing here touches a model."""
