"""What a run folder holds, shown: one self-contained HTML page, and one wide picture."""
